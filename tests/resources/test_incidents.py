"""Incidents are whole files, the newest first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resources.incidents import list_incidents, open_incident


def test_an_incident_is_written_and_listed_newest_first(tmp_path: Path) -> None:
    folder = tmp_path / "incidents"
    assert list_incidents(folder) == []
    first = open_incident(folder, kind="guard-breach", title="Bad", evidence={"share": 0.5})
    open_incident(folder, kind="guard-breach", title="Worse", evidence={})
    (folder / ".half.json.part").write_text("{")
    assert [i["title"] for i in list_incidents(folder)] == ["Worse", "Bad"]
    said = json.loads(first.read_text())
    assert (said["id"], said["evidence"]) == (first.stem, {"share": 0.5})


@pytest.mark.parametrize(
    ("kind", "evidence"), [("../up", {}), ("Bad", {}), ("ok", {"p": float("nan")})]
)
def test_what_is_no_record_is_refused(tmp_path: Path, kind: str, evidence) -> None:
    with pytest.raises(ValueError, match=r"kind|JSON"):
        open_incident(tmp_path, kind=kind, title="x", evidence=evidence)
    assert list(tmp_path.iterdir()) == []
