"""The whole evaluation on a tiny retailer's candidates: scored, ranked, judged and audited."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from checks.gates.ranking_release import GATES, evaluate_gates
from models.evaluation.audit import AuditInputs
from models.evaluation.figures import content_version, metrics_json
from models.evaluation.held_out import HeldOut, WeeklyInputs, rank_held_out
from models.evaluation.judge import judge
from models.evaluation.metrics import mean_metrics, per_event
from models.evaluation.report import render_html
from models.evaluation.result import EvaluationResult, Lineage
from models.evaluation.scopes import ALL, Scope
from models.ranking.dataset import FeatureLists
from models.ranking.order import OrderBy
from tests.models.evaluation.conftest import FIRST

WEEKS = [FIRST, FIRST + timedelta(weeks=1)]
HOUSEHOLDS = [f"hh{i:010}" for i in range(40)]
PRODUCTS = [f"p{i:02}" for i in range(12)]
DRINKS = Scope("beverages", frozenset(PRODUCTS[:6]))
FEATURES = FeatureLists(
    candidate=("personal_rank", "global_rank"), household=("spend_91d",), product=("pop",)
)


def inputs() -> tuple[WeeklyInputs, pl.DataFrame]:
    """Every household has every product as a candidate and buys what it likes best."""
    rng = np.random.default_rng(5)
    rows, bought = [], []
    for week in WEEKS:
        for household in HOUSEHOLDS:
            liking = rng.random(len(PRODUCTS))
            known = liking + 0.3 * rng.random(len(PRODUCTS))
            rank = np.argsort(np.argsort(-known)) + 1
            rows += [
                (household, week, p, int(r) if r < 9 else None)
                for p, r in zip(PRODUCTS, rank, strict=True)
            ]
            bought += [(household, week, PRODUCTS[i]) for i in np.flatnonzero(liking > 0.75)]
    keys = {"household_id": pl.String, "as_of": pl.Date, "product_id": pl.String}
    candidates = pl.LazyFrame(
        rows, schema={**keys, "personal_rank": pl.Int32}, orient="row"
    ).with_columns(
        known_at=pl.col("as_of").cast(pl.Datetime("us")),
        source=pl.lit("personal"),
        global_rank=pl.col("product_id").rank("dense").cast(pl.Int32),
    )
    household = candidates.select("household_id", "as_of").unique()
    product = candidates.select("product_id", "as_of").unique()
    place = pl.col("household_id").str.slice(2).cast(pl.Float64)
    return (
        WeeklyInputs(
            candidates=candidates,
            household=household.with_columns(spend_91d=place, days_since_first_basket=place * 10),
            product=product.with_columns(pop=pl.lit(1.0)),
            household_product=candidates.select("household_id", "product_id", "as_of"),
        ),
        pl.DataFrame(bought, schema=keys, orient="row"),
    )


def by_habit(rows: pl.DataFrame) -> pl.Series:
    return -rows["personal_rank"].fill_null(99.0)


def by_id(rows: pl.DataFrame) -> pl.Series:
    return rows["product_id"].str.slice(1).cast(pl.Float64)


def probability(rows: pl.DataFrame) -> pl.Series:
    return 1 / (1 + rows["personal_rank"].fill_null(20.0).cast(pl.Float64))


@pytest.fixture(scope="module")
def held() -> HeldOut:
    weekly, bought = inputs()
    return rank_held_out(
        weekly,
        bought,
        weeks=WEEKS,
        features=FEATURES,
        scorers={"xgboost": by_habit, "lightgbm": by_id},
        model="xgboost",
        popular=(OrderBy("pop"),),
        scopes=[Scope(ALL), DRINKS],
        k=3,
        seed=1,
        probabilities=probability,
    )


@pytest.fixture(scope="module")
def result(held: HeldOut) -> EvaluationResult:
    weekly, bought = inputs()
    lines = bought.select(
        "household_id",
        "product_id",
        pl.lit("1").alias("store_id"),
        pl.col("as_of").alias("week_start"),
    )
    past = lines.sample(fraction=0.4, seed=2).with_columns(
        week_start=pl.lit(FIRST - timedelta(weeks=3))
    )
    baselines = {
        scope.name: {
            "gp_topfreq": held.rankings[scope.name]["lightgbm"],
            "g_topfreq": held.rankings[scope.name]["lightgbm"],
        }
        for scope in (Scope(ALL), DRINKS)
    }
    return judge(
        held,
        baselines,
        AuditInputs(
            purchases=bought,
            lines=pl.concat([past, lines]).lazy(),
            promotions=pl.LazyFrame(
                {
                    "product_id": ["p00"],
                    "store_id": ["1"],
                    "week_start": [FIRST],
                    "on_display": [True],
                    "in_mailer": [False],
                }
            ),
            products=pl.DataFrame(
                {
                    "product_id": PRODUCTS,
                    "category": ["SOFT DRINKS"] * 6 + ["CHEESE"] * 6,
                    "type": ["t"] * 12,
                }
            ),
            households=weekly.household.collect(),
            demographics=pl.DataFrame(
                {
                    "household_id": HOUSEHOLDS[:20],
                    "age": ["19-24", "65+"] * 10,
                    "income": [None] * 20,
                },
                schema_overrides={"income": pl.String},
            ),
            served=held.served,
            leakage=held.leakage,
        ),
        model="xgboost",
        scopes=[Scope(ALL), DRINKS],
        importance=pl.DataFrame({"feature": ["personal_rank"], "gain": [1.0]}),
        lineage=Lineage("v", "1", "f", "g", 1, FIRST),
        k=3,
        seed=1,
        challengers=("lightgbm", "neural"),
        draws=200,
    )


def test_lists_are_cut_to_k_in_every_scope(held: HeldOut) -> None:
    for scope in (Scope(ALL), DRINKS):
        ranking = held.rankings[scope.name]["xgboost"]
        assert ranking.height == len(WEEKS) * len(HOUSEHOLDS) * 3
        assert ranking["rank"].unique().sort().to_list() == [1, 2, 3]
        assert scope.of(ranking).height == ranking.height


def test_the_best_scored_come_first(held: HeldOut) -> None:
    first = held.rankings[ALL]["lightgbm"].filter(pl.col("rank") == 1)
    assert first["product_id"].unique().to_list() == ["p11"]
    drinks = held.rankings["beverages"]["lightgbm"].filter(pl.col("rank") == 1)
    assert drinks["product_id"].unique().to_list() == ["p05"]


def test_probabilities_belong_to_what_was_served(held: HeldOut) -> None:
    served = held.served
    assert served is not None
    assert served.height == held.rankings[ALL]["xgboost"].height
    # Its offers are the first three of the habit.
    assert sorted(served["probability"].unique()) == pytest.approx([1 / 4, 1 / 3, 1 / 2])


def test_sources_come_from_the_columns(held: HeldOut) -> None:
    assert held.sources == ("personal", "global")
    assert held.candidates["beverages"]["union proposed"].unique().to_list() == [6]


def test_a_newcomer_is_ranked_what_is_popular_and_counted_nowhere_else() -> None:
    weekly, bought = inputs()
    came = pl.DataFrame([("hh-new", WEEKS[0], "p03")], schema=dict(bought.schema), orient="row")
    popular = replace(
        weekly,
        product=weekly.product.with_columns(
            pop=pl.when(pl.col("product_id") == "p03").then(9.0).otherwise(1.0),
            known_at=pl.col("as_of").cast(pl.Datetime("us")),
        ),
    )
    held = rank_held_out(
        popular,
        pl.concat([bought, came]),
        weeks=WEEKS[:1],
        features=FEATURES,
        scorers={"xgboost": lambda rows: rows["p_pop"]},
        model="xgboost",
        popular=(OrderBy("pop"),),
        scopes=[Scope(ALL)],
        k=3,
        seed=1,
        probabilities=probability,
    )
    offers = held.rankings[ALL]["xgboost"].filter(pl.col("household_id") == "hh-new")
    assert offers.sort("rank")["product_id"][0] == "p03"
    assert offers.height == 3
    assert held.served is not None
    assert "hh-new" not in held.served["household_id"]
    events = held.candidates[ALL].filter(pl.col("household_id") == "hh-new")
    assert events["union proposed"].to_list() == [0]


def test_no_probabilities_are_no_calibration() -> None:
    weekly, bought = inputs()
    given = {
        "features": FEATURES,
        "scorers": {"xgboost": by_habit},
        "model": "xgboost",
        "popular": (OrderBy("pop"),),
        "scopes": [Scope(ALL)],
        "k": 3,
        "seed": 1,
    }
    assert rank_held_out(weekly, bought, weeks=WEEKS[:1], **given).served is None
    with pytest.raises(ValueError, match=r"0 week\(s\)"):
        rank_held_out(weekly, bought, weeks=[], **given)


def test_every_scope_is_judged_on_its_own_purchases(
    result: EvaluationResult, held: HeldOut
) -> None:
    _, bought = inputs()
    drinks = result.scopes["beverages"]
    want = mean_metrics(
        per_event(held.rankings["beverages"]["xgboost"], DRINKS.of(bought), k=3), k=3
    )
    assert {m: i.estimate for m, i in drinks.metrics["xgboost"].items()} == pytest.approx(want)
    assert drinks.events < result.events
    assert set(result.scopes) == {"beverages"}


def test_challengers_are_compared_and_no_baselines(result: EvaluationResult) -> None:
    assert result.challengers == ("lightgbm",)
    assert result.baselines == ("gp_topfreq", "g_topfreq")
    assert "lightgbm" in result.differences


def test_the_audit_looks_at_everything(result: EvaluationResult) -> None:
    audit = result.audit
    assert audit.calibration is not None
    assert audit.leakage is not None
    assert audit.popularity is not None
    dimensions = {part.dimension for part in audit.slices}
    assert dimensions == {"tenure", "basket_size", "category", "promotion"}
    events = {d: sum(s.events for s in audit.slices if s.dimension == d) for d in dimensions}
    assert events["tenure"] == events["basket_size"] == result.events
    # Nobody states an income.
    assert [gap.attribute for gap in audit.fairness] == ["age", "spend"]
    assert audit.popularity["system"].to_list()[-1] == "purchases"


def test_metrics_gain_sections_and_keep_their_keys(result: EvaluationResult) -> None:
    document = json.loads(json.dumps(metrics_json(result), allow_nan=False))
    assert set(document["scopes"]) == {"all", "beverages"}
    for scope in document["scopes"].values():
        assert {"models", "intervals", "differences", "events"} <= set(scope)
    assert document["scopes"]["all"]["models"] == document["models"]
    assert document["calibration"]["offers"] == 240
    assert document["slices"]["promotion"]["on display"]["models"]["xgboost"]["recall@3"] >= 0
    assert document["fairness"]["age"]["groups"]["65+"]["households"] == 10
    assert document["popularity"]["xgboost"]["coverage"] > 0
    assert set(document["sources"]) == {"personal", "global", "union"}
    assert document["overlap"][0]["both"] > 0
    assert document["override"] is None


def test_every_gate_has_a_verdict_in_order(result: EvaluationResult) -> None:
    gates = evaluate_gates(result, registered=False, model_bytes=1, p99_ms=1.0)
    assert [gate.name for gate in gates] == list(GATES)


def test_the_content_version_leaves_times_out(result: EvaluationResult) -> None:
    def version(p99_ms: float, **changes: object) -> str:
        gates = evaluate_gates(result, registered=False, model_bytes=1, p99_ms=p99_ms)
        return content_version(metrics_json(replace(result, gates=gates, **changes)))  # type: ignore[arg-type]

    assert version(1.0) == version(2.0)
    assert version(1.0) != version(1000.0)
    assert version(1.0) != version(1.0, events=1)


def test_the_page_shows_each_part(result: EvaluationResult) -> None:
    html = render_html(result)
    for words in (
        "Can its probabilities be taken at their word?",
        "Where it is better and where it is worse",
        "Is it fair?",
        "Does it offer everybody the same?",
        "The same for beverages alone",
        "How far the sources agree",
    ):
        assert words in html
    assert html.count("<figure") == html.count("</svg>")


def test_a_scope_without_purchases_is_left_out(result: EvaluationResult, held: HeldOut) -> None:
    weekly, bought = inputs()
    none = Scope("beverages", frozenset())
    empty = {name: ranking.clear() for name, ranking in held.rankings[ALL].items()}
    found = judge(
        replace(held, rankings={ALL: held.rankings[ALL], "beverages": empty}),
        {ALL: {"gp_topfreq": held.rankings[ALL]["lightgbm"]}, "beverages": {}},
        AuditInputs(
            purchases=bought,
            lines=bought.lazy().select(
                "household_id", "product_id", store_id=pl.lit("1"), week_start=pl.col("as_of")
            ),
            promotions=pl.LazyFrame(
                schema={
                    "product_id": pl.String,
                    "store_id": pl.String,
                    "week_start": pl.Date,
                    "on_display": pl.Boolean,
                    "in_mailer": pl.Boolean,
                }
            ),
            products=pl.DataFrame(
                schema={"product_id": pl.String, "category": pl.String, "type": pl.String}
            ),
            households=weekly.household.collect(),
            demographics=pl.DataFrame(
                schema={"household_id": pl.String, "age": pl.String, "income": pl.String}
            ),
        ),
        model="xgboost",
        scopes=[Scope(ALL), none],
        importance=result.importance,
        lineage=result.lineage,
        k=3,
        seed=1,
        draws=50,
    )
    assert found.scopes == {}
    # A week without promotions and a range without categories are no error.
    assert {part.name for part in found.audit.slices if part.dimension == "promotion"} == {
        "not promoted"
    }
    assert found.audit.calibration is None
    assert render_html(found)
