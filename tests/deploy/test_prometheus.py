"""Scrape and alert rules: sound, tested, about metrics that exist, each with a runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from bentos import metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
NAMES = [rule["alert"] for rule in RULES]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="apt-get install prometheus")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml", "alerts_days_test.yml"],
    ],
)
def test_promtool_finds_nothing_wrong(command: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_about_metrics_that_the_service_has() -> None:
    families = metrics.exposition().decode()
    known = set(re.findall(r"^# TYPE (\S+)", families, re.MULTILINE))
    known |= {f"{name}_bucket" for name in known} | {"up"}
    used = {
        name
        for rule in RULES
        for name in re.findall(r"\b(liftgraph_\w+|up)(?=[\s{\[<>=)])", rule["expr"] + " ")
    }
    assert used >= {"up", "liftgraph_ready", "liftgraph_guard_trips_total"}
    assert used - known == set()


def test_every_alert_has_a_test_an_owner_and_a_runbook() -> None:
    tested = [
        test
        for file in ("alerts_test.yml", "alerts_days_test.yml")
        for test in yaml.safe_load((PROMETHEUS / file).read_text())["tests"]
    ]
    assert [t["alert_rule_test"][0]["alertname"] for t in tested] == NAMES
    page = (DEPLOY.parent / "docs" / "control-room.md").read_text()
    anchors = {
        re.sub(r"[^\w -]", "", line).strip().replace(" ", "-").lower()
        for line in page.splitlines()
        if line.startswith("#")
    }
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["labels"]["owner"]
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/control-room.md"
        assert anchor in anchors, f"{rule['alert']} has no runbook"


def test_manifests_are_whole_and_hold_no_secret() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(compose["services"]) == {"postgres", "dagster", "daemon", "service", "prometheus"}
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} listens to the outside"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), source
    kinds = [doc["kind"] for doc in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())]
    assert kinds == ["Deployment", "Service", "PersistentVolumeClaim"]
    for file in DEPLOY.rglob("*"):
        if file.is_file():
            said = file.read_text()
            # A word after `password`, where no variable stands.
            assert not re.findall(r"(?i)(?<!POSTGRES_)password[=:][ ]*[^\s$\"]", said), file
