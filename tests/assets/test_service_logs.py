"""What the service logged, stored by the graph: asked for while there is something, once."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from assets.governance.automation import parity_schedule
from assets.monitoring.feature_parity import _result, feature_parity
from assets.serving.logs import SERVING_LOGS, service_logs
from checks.contracts.decisions import DECISIONS
from checks.contracts.monitoring import FEATURE_PARITY
from tests.conftest import Home
from tests.resources.test_log_ingest import decision, write


def asked(home: Home, instance: dg.DagsterInstance) -> list[dg.AssetKey]:
    """What one tick of the sensor asks for."""
    with dg.build_sensor_context(
        instance=instance,
        resources={"settings": home.settings, "lake": home.lake},
        definitions=home.definitions(*SERVING_LOGS),
    ) as context:
        ticked = service_logs.evaluate_tick(context)
    return [key for request in ticked.run_requests or () for key in request.asset_selection or ()]


@pytest.mark.slow
def test_decisions_are_asked_for_stored_and_then_left_alone(
    home: Home, instance: dg.DagsterInstance
) -> None:
    assert asked(home, instance) == []
    folder = home.settings.decisions_dir
    write(folder, "decisions-1.jsonl", decision(1), b"no json\n", decision(2))
    assert asked(home, instance) == [dg.AssetKey(["serving", "decisions"])]
    for _ in range(2):
        result = home.materialize(*SERVING_LOGS, feature_parity, instance=instance)
        assert result.success
    assert home.lake.scan(DECISIONS).collect().height == 2
    assert asked(home, instance) == []
    # These decisions name no snapshot, so there is nothing to compare them with.
    assert home.lake.scan(FEATURE_PARITY).collect().is_empty()


def test_fresh_decisions_that_nobody_compared_are_a_warning() -> None:
    none = FEATURE_PARITY.empty()
    found = _result(none, [], asked={False: 0, True: 7})
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert found.description == "none of 7 fresh decisions could be compared"
    assert _result(none, [], asked={False: 3, True: 0}).passed
    damaged = _result(none, ["snapshot s is gone"], asked={False: 0, True: 7})
    assert damaged.severity == dg.AssetCheckSeverity.ERROR


def test_parity_is_asked_for_daily() -> None:
    at = datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
    with dg.build_schedule_context(scheduled_execution_time=at) as context:
        (request,) = parity_schedule.evaluate_tick(context).run_requests or ()
    assert request.run_key == "parity 2026-11-21"
    assert parity_schedule.cron_schedule == "30 5 * * *"
