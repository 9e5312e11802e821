"""Registration by itself: it follows a new report, and never past a failed gate."""

from __future__ import annotations

import dagster as dg
import pytest

from checks.gates.ranking import BEATS_GP_TOPFREQ
from checks.gates.ranking_release import GATES, INFORMATIVE

MODEL = dg.AssetKey(["models", "offer_ranker"])
REPORT = dg.AssetKey(["evaluation", "ranking"])


def train_and_judge(instance: dg.DagsterInstance, *, passed: bool) -> None:
    for key in (MODEL, REPORT):
        instance.report_runless_asset_event(dg.AssetMaterialization(key))
    for gate in GATES:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=REPORT,
                check_name=gate,
                passed=passed or gate != BEATS_GP_TOPFREQ,
                blocking=gate not in INFORMATIVE,
                metadata={},
            )
        )


@pytest.mark.parametrize(("passed", "requested"), [(True, 1), (False, 0)])
def test_a_new_report_is_followed_only_past_its_gate(
    instance: dg.DagsterInstance, *, passed: bool, requested: int
) -> None:
    from definitions import defs as definitions

    # The first look only remembers what is there.
    first = dg.evaluate_automation_conditions(defs=definitions, instance=instance)
    train_and_judge(instance, passed=passed)
    second = dg.evaluate_automation_conditions(
        defs=definitions, instance=instance, cursor=first.cursor
    )
    assert second.total_requested == requested
