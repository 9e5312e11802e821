"""Sequences by hand and by simulation; the judge's three answers; figures of an arm."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.judge import collected
from models.release.figures import COLUMNS, MOST_MS, arm_figures
from models.release.findings import JudgeSettings
from models.release.judge import judge
from models.release.sequences import (
    count_e_value,
    mean_radius,
    sample_ratio_p,
    share_interval,
)

AT = datetime(2026, 1, 5, 12)  # noqa: DTZ001 - times are naive UTC


def answers(
    arm: str, n: int, *, seed: int = 1, errors: int = 0, slower: float = 1.0
) -> pl.DataFrame:
    random = np.random.default_rng([seed, len(arm)])
    return pl.DataFrame(
        {
            "decided_at": [AT] * n,
            "household_id": [f"{arm}{i}" for i in range(n)],
            "arm": [arm] * n,
            "error": ["ValueError: x" if i < errors else None for i in range(n)],
            "latency_ms": np.exp(random.normal(0.0, 0.4, n)) * slower,
            "empty": [False] * n,
            "top_score": random.normal(size=n),
        },
        schema_overrides={"error": pl.String},
    )


def verdict(canary: pl.DataFrame, baseline: pl.DataFrame, **settings):
    rows = pl.concat([canary, baseline])
    return judge(
        arm_figures(rows, "canary"), arm_figures(rows, "baseline"), JudgeSettings(**settings)
    )


def test_evidence_of_counts_by_hand() -> None:
    ratios = np.geomspace(1.5, 1000, 24)
    # Three bad of the canary, one of the baseline: mean of (2q)^3 (2(1-q)) over q = r/(1+r).
    q = ratios / (1 + ratios)
    assert count_e_value(3, 1) == pytest.approx(np.mean((2 * q) ** 3 * 2 * (1 - q)))
    assert count_e_value(0, 0) == pytest.approx(1.0)
    assert count_e_value(0, 9) < 0.1


@given(st.integers(0, 40), st.integers(0, 40))
def test_evidence_is_a_fair_bet_when_nothing_is_wrong(bad: int, others: int) -> None:
    """The next bad answer falls on either side with one half: on average nothing is won."""
    now = count_e_value(bad, others)
    then = (count_e_value(bad + 1, others) + count_e_value(bad, others + 1)) / 2
    assert then == pytest.approx(now, rel=1e-9)


def test_shares_are_missed_at_no_look_too_often() -> None:
    random = np.random.default_rng(2)
    bad = np.cumsum(random.random((1_000, 1_000)) < 0.02, axis=1)
    looks = np.arange(10, 1_001, 30)
    low, high = share_interval(bad[:, looks - 1], looks, alpha=0.05)
    assert ((low > 0.02) | (high < 0.02)).any(axis=1).mean() <= 0.05
    assert share_interval(0, 0, alpha=0.05) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert share_interval(0, 2_000, alpha=0.025)[1] < 0.004


def test_means_are_missed_at_no_look_too_often() -> None:
    random = np.random.default_rng(3)
    n = np.arange(1, 2_001)
    values = random.exponential(size=(1_000, n.size)) - 1.0
    means = np.cumsum(values, axis=1) / n
    variances = np.cumsum(values**2, axis=1) / n - means**2
    wide = mean_radius(variances / n, n, alpha=0.05, planned=500.0)
    assert (np.abs(means) > wide)[:, 99:].any(axis=1).mean() <= 0.05
    assert mean_radius(1.0, 1, alpha=0.05, planned=10.0) == math.inf


def test_radius_by_hand() -> None:
    # n rho^2 = 1 at alpha with -2 ln a + ln(-2 ln a) + 1 = planned / n.
    alpha, n = 0.05, 100.0
    planned = n * (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1)
    expected = math.sqrt(0.01 * 2 * 2 * math.log(math.sqrt(2) / alpha))
    assert mean_radius(0.01, n, alpha=alpha, planned=planned) == pytest.approx(expected)


def test_unequal_slices() -> None:
    # (600 - 400)^2 / 1000 = 40 with one degree of freedom.
    assert sample_ratio_p(600, 400) == pytest.approx(math.erfc(math.sqrt(20)))
    assert sample_ratio_p(500, 500) == sample_ratio_p(0, 0) == 1.0


def test_a_healthy_canary_is_promoted_when_enough_was_seen() -> None:
    assert verdict(answers("canary", 150), answers("baseline", 150)).decision == "INCONCLUSIVE"
    few = verdict(answers("canary", 400), answers("baseline", 400))
    assert few.decision == "INCONCLUSIVE"
    assert "0.5 cannot be excluded yet" in few.reasons[0]
    enough = verdict(answers("canary", 1_500), answers("baseline", 1_500))
    assert enough.decision == "PROMOTE", enough.reasons
    evidence = enough.evidence()
    assert evidence["verdict"] == "PROMOTE"
    assert evidence["requests"] == {"canary": 1_500, "baseline": 1_500}


def test_a_canary_with_errors_against_a_baseline_with_none_is_caught() -> None:
    """Six are enough, however few requests there were."""
    for errors, decision in ((5, "INCONCLUSIVE"), (6, "ROLLBACK")):
        found = verdict(answers("canary", 40, errors=errors), answers("baseline", 40))
        assert found.decision == decision
    assert "failed answers +15.00 percentage points" in found.reasons[0]


def test_a_slower_canary_is_caught_and_a_quicker_one_is_not() -> None:
    assert verdict(answers("canary", 800, slower=1.25), answers("baseline", 800)).decision == (
        "ROLLBACK"
    )
    assert verdict(answers("canary", 1_500, slower=0.5), answers("baseline", 1_500)).decision == (
        "PROMOTE"
    )


def test_scores_of_another_kind_are_harm_unless_their_scale_is_another() -> None:
    moved = answers("canary", 1_500).with_columns(pl.col("top_score") + 3)
    assert verdict(moved, answers("baseline", 1_500)).decision == "ROLLBACK"
    assert verdict(moved, answers("baseline", 1_500), score_harm=None).decision == "PROMOTE"


def test_slices_that_are_not_comparable_promote_nobody() -> None:
    found = verdict(answers("canary", 1_500), answers("baseline", 1_900))
    assert found.decision == "INCONCLUSIVE"
    assert "not comparable" in found.reasons[0]


def test_one_household_that_asks_again_and_again_is_one_witness() -> None:
    again = answers("canary", 60, errors=60).with_columns(pl.lit("one").alias("household_id"))
    rows = pl.concat([again, answers("canary", 300), answers("baseline", 300)])
    figures = arm_figures(rows, "canary")
    assert (figures.requests, figures.households, figures.units, figures.errors) == (
        360,
        301,
        301,
        1,
    )
    later = again.with_columns(pl.col("decided_at") + timedelta(days=1))
    assert arm_figures(pl.concat([rows, later]), "canary").errors == 2
    assert judge(figures, arm_figures(rows, "baseline")).decision == "INCONCLUSIVE"


def test_households_and_not_answers_say_how_sure_a_mean_is() -> None:
    """Each household has its own level; asked twenty times it says no more than once."""
    random = np.random.default_rng(4)
    levels = np.exp(random.normal(0, 1, 400))
    once = answers("canary", 400).with_columns(pl.Series("latency_ms", levels))
    often = pl.concat([once] * 20)
    a, b = arm_figures(once, "canary").latency, arm_figures(often, "canary").latency
    assert b.mean == pytest.approx(a.mean)
    assert b.variance == pytest.approx(a.variance)
    # And the textbook's variance where each household asks once.
    assert a.variance == pytest.approx(np.log(levels).var(ddof=1) / 400)


def test_figures_leave_out_what_has_no_meaning() -> None:
    rows = answers("canary", 4, errors=1).with_columns(
        pl.Series("latency_ms", [9e9, 1e9, 1.0, 1.0]),
        pl.Series("top_score", [None, float("nan"), 1.0, 3.0]),
        pl.Series("empty", [True, None, True, False]),
    )
    figures = arm_figures(rows, "canary")
    assert (figures.errors, figures.empty, figures.slow) == (1, 1, 1)
    assert figures.latency.mean == pytest.approx(math.log(MOST_MS) / 3)
    assert figures.top_score.mean == 2.0
    nobody = arm_figures(rows.select(*COLUMNS), "baseline")
    assert (nobody.requests, nobody.latency.variance) == (0, math.inf)
    assert judge(figures, nobody).decision == "INCONCLUSIVE"


@pytest.mark.slow
def test_over_simulated_releases() -> None:
    """The benchmark in small: 150 releases of 6,000 requests of each slice."""
    found = collected(releases=150, points=60, seed=1)
    ours = found["judge"]
    assert ours["healthy"]["rolled_back_ever"] <= 0.02
    assert ours["healthy"]["promoted"] >= 0.95
    assert ours["errors_1"]["rolled_back"] >= 0.95
    assert ours["errors_5"]["median_requests_to_rollback"] <= 300
    assert ours["latency_20"]["rolled_back"] >= 0.95
    assert found["fixed"]["healthy"]["rolled_back_ever"] > ours["healthy"]["rolled_back_ever"]
