"""A week's decision, whole: the plan, whether it may be published, its random part, the tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from models.actions.baselines import CURRENT, baselines
from models.actions.candidates import KEY
from models.actions.exploration import Drawn, explore
from models.actions.plan import Plan, plan
from models.actions.proposals import Proposal, proposals
from models.actions.publication import PUBLISH, Verdict, judge
from models.actions.reasons import reason, reason_of_test
from models.actions.settings import ActionSettings, Economics

PLAN = "plan"
ACTION, EXPLORED, TREATED, CONTROL = "action", "exploration", "test", "control"
KINDS = (ACTION, EXPLORED, TREATED, CONTROL)

TABLE: Mapping[str, type[pl.DataType]] = {
    "store_id": pl.String,
    "product_id": pl.String,
    "week_start": pl.Date,
    "kind": pl.String,
    "action": pl.String,
    "category": pl.String,
    "decision": pl.String,
    "slot_product_id": pl.String,
    "slot_action": pl.String,
    "propensity": pl.Float64,
    "evidence": pl.String,
    "lift_low": pl.Float64,
    "lift": pl.Float64,
    "lift_high": pl.Float64,
    "value_low": pl.Float64,
    "value": pl.Float64,
    "value_high": pl.Float64,
    "cost": pl.Float64,
    "test_weeks": pl.Int32,
    "test_stores": pl.Int32,
    "reasons": pl.String,
}


@dataclass(frozen=True, eq=False)
class WeekPlan:
    """Everything decided for a week.

    Attributes:
        plan: The best plan under the limits, published or not.
        verdict: Whether it is published.
        drawn: What is carried out of it; empty if it is not published.
        tests: Proposed tests.
        baselines: Name to chosen rows, ``plan`` first.
        margins: Shift of every margin to the plan made with it.
        candidates: All that could be chosen.
    """

    plan: Plan
    verdict: Verdict
    drawn: Drawn
    tests: tuple[Proposal, ...]
    baselines: Mapping[str, pl.DataFrame]
    margins: Mapping[float, Plan]
    candidates: pl.DataFrame

    @property
    def published(self) -> bool:
        return self.verdict.decision == PUBLISH

    def table(self) -> pl.DataFrame:
        """Columns of ``TABLE``: a row per action carried out, and per store of a proposed test."""
        decision = self.verdict.decision
        rows = [
            row
            | {
                "kind": EXPLORED if row["explored"] else ACTION,
                "decision": decision,
                "test_weeks": None,
                "test_stores": None,
                "reasons": reason(row),
            }
            for row in self.drawn.rows.iter_rows(named=True)
        ]
        for test in self.tests:
            rows += self._of_test(test)
        made = [{name: row[name] for name in TABLE} for row in rows]
        return pl.DataFrame(made, schema=dict(TABLE)).sort("store_id", "product_id", "kind")

    def _of_test(self, test: Proposal) -> list[dict[str, object]]:
        stores = [*test.treated, *test.control]
        if not stores:
            return []
        facts = self.candidates.filter(
            pl.col("store_id").is_in(stores)
            & (pl.col("product_id") == test.product_id)
            & (pl.col("action") == test.action)
        )
        # Who is treated is drawn evenly among all stores that could be.
        propensity = test.stores / test.available
        return [
            row
            | {
                "kind": TREATED if row["store_id"] in test.treated else CONTROL,
                "decision": self.verdict.decision,
                "slot_product_id": row["product_id"],
                "slot_action": row["action"],
                "propensity": propensity,
                "test_weeks": test.weeks,
                "test_stores": test.stores,
                "reasons": reason_of_test(test, treated=row["store_id"] in test.treated),
            }
            for row in facts.iter_rows(named=True)
        ]


def week_plan(
    candidates: pl.DataFrame,
    settings: ActionSettings,
    *,
    unknown: int = 0,
    threads: int = 1,
) -> WeekPlan:
    """Decide a week.

    Args:
        candidates: From ``candidates.candidates``.
        settings: Costs, limits, exploration and tests.
        unknown: Actions of the standing plan that are no candidates.
        threads: Of the solver.

    Raises:
        ContradictionError: No plan keeps all limits.
        ValueError: Bad candidates.
    """
    limits, seed = settings.limits, settings.exploration.seed
    best = plan(candidates, limits, threads=threads)
    simple = baselines(candidates, limits, seed=seed)
    verdict = judge(best.rows, simple[CURRENT], unknown=unknown)
    published = verdict.decision == PUBLISH
    carried_out = best.rows if published else best.rows.clear()
    drawn = explore(carried_out, candidates, limits, settings.exploration)
    # What is not published leaves the standing plan where it is.
    kept = drawn.rows.select(best.rows.columns) if published else simple[CURRENT]
    margins = {
        shift: plan(_at_margin(candidates, settings.economics, shift), limits, threads=threads)
        for shift in (-settings.economics.margin_band, settings.economics.margin_band)
        if shift
    }
    return WeekPlan(
        plan=best,
        verdict=verdict,
        drawn=drawn,
        tests=proposals(
            candidates, kept, limits, settings.testing, seed=seed, standing=not published
        ),
        baselines={PLAN: best.rows, **simple},
        margins=margins,
        candidates=candidates,
    )


def overlap(one: pl.DataFrame, other: pl.DataFrame) -> float:
    """Share of the actions of both plans that are in both; 1 if neither has any."""
    both = one.join(other, on=list(KEY), how="semi").height
    either = one.height + other.height - both
    return both / either if either else 1.0


def _at_margin(candidates: pl.DataFrame, economics: Economics, shift: float) -> pl.DataFrame:
    own = pl.col("category").replace_strict(
        dict(economics.margin_by_category), default=economics.margin, return_dtype=pl.Float64
    )
    factor = (own + shift).clip(0.01, 0.99) / own
    return candidates.with_columns(
        pl.col("value_low", "value", "value_high") * factor,
    )
