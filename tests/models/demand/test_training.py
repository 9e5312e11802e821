from __future__ import annotations

import json
from datetime import date

import polars as pl
import pytest

from checks.contracts.contract import validate
from checks.contracts.demand import DEMAND_FORECASTS
from models.calendar import start_of_week
from models.demand import training as training_module
from models.demand.features import FEATURES
from models.demand.forecast import as_stored, forecast_horizons
from models.demand.prices import coverage
from models.demand.protocol import HORIZONS, before, demand_weeks, origins
from models.demand.season import easter, season_of
from models.demand.training import DISPERSION_FILE, DemandTraining, train
from models.evaluation.demand_held_out import QUICK, evaluate
from models.evaluation.demand_report import document, render_html, summary
from tests.models.demand.market import FIRST, market, week

LAST = week(30)


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return market(stores=4, products=4).with_columns(
        pl.lit(value=True).alias("active"),
        pl.lit(value=True).alias("plan_known"),
        pl.lit("other_stores").alias("discount_source"),
        pl.lit("chain").alias("base_price_source"),
    )


@pytest.fixture(scope="module")
def trained(panel: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> DemandTraining:
    return fit(panel, tmp_path_factory.mktemp("studies"))


def fit(panel: pl.DataFrame, folder) -> DemandTraining:
    kept = training_module.ROUNDS
    training_module.ROUNDS = 25
    try:
        return train(
            panel,
            last=LAST,
            data_snapshot="snapshot",
            storage=f"sqlite:///{folder / 'studies.db'}",
            seed=5,
            trials=2,
            threads=1,
        )
    finally:
        training_module.ROUNDS = kept


def test_a_model_per_horizon_and_their_scatter(trained: DemandTraining) -> None:
    assert set(trained.files) == {"model.ubj", "horizon_4.ubj", DISPERSION_FILE}
    assert set(json.loads(trained.files[DISPERSION_FILE])) == {"1", "4"}
    assert trained.study.trials == 2
    assert trained.weeks[1][-1] == LAST
    assert trained.rows == {1: 16 * 16, 4: 16 * 16}


def test_the_future_of_the_panel_changes_no_byte(
    panel: pl.DataFrame, trained: DemandTraining, tmp_path
) -> None:
    later = pl.col("week_start") > LAST
    changed = panel.with_columns(pl.when(later).then(99).otherwise("units").alias("units"))
    assert fit(changed, tmp_path).files == trained.files


def test_forecasts_of_the_coming_weeks_satisfy_their_contract(
    panel: pl.DataFrame, trained: DemandTraining
) -> None:
    as_of = week(35)
    rows = forecast_horizons(
        panel,
        models={1: trained.files["model.ubj"], 4: trained.files["horizon_4.ubj"]},
        dispersions=trained.dispersions,
        as_of=as_of,
    )
    stored = as_stored(
        rows,
        as_of=as_of,
        known_at=start_of_week(as_of, time_zone="UTC"),
        model_version="m",
    )
    assert validate(stored, DEMAND_FORECASTS).passed, validate(stored, DEMAND_FORECASTS)
    assert dict(stored.group_by("horizon").len().rows()) == {1: 16, 4: 16}
    assert set(stored.filter(pl.col("horizon") == 4)["week_start"]) == {week(38)}
    # Nothing is promoted in a week that nobody has planned.
    assert not rows.filter(pl.col("horizon") == 4)["promoted"].any()
    assert not stored.filter(pl.col("horizon") == 4)["plan_known"].any()
    bad = stored.with_columns(pl.col("high") - 100.0)
    assert not validate(bad, DEMAND_FORECASTS).passed


def test_forecasts_do_not_read_the_week_they_are_made_in(
    panel: pl.DataFrame, trained: DemandTraining
) -> None:
    now = pl.col("week_start") >= week(35)
    changed = panel.with_columns(pl.when(now).then(99).otherwise("units").alias("units"))
    made = [
        forecast_horizons(
            each,
            models={1: trained.files["model.ubj"]},
            dispersions=trained.dispersions,
            as_of=week(35),
        )["mean"].to_list()
        for each in (panel, changed)
    ]
    assert made[0] == made[1]


def test_the_report_says_what_was_found(panel: pl.DataFrame, trained: DemandTraining) -> None:
    found = evaluate(
        panel,
        model=trained.model,
        dispersion=trained.dispersions[1],
        train_weeks=trained.weeks[1],
        held_out=[week(32), week(33)],
        horizon=1,
        seed=1,
        rounds=20,
        threads=1,
        names=(*QUICK, "gbm_no_promo"),
    )
    four = evaluate(
        panel,
        model=trained.files["horizon_4.ubj"],
        dispersion=trained.dispersions[4],
        train_weeks=trained.weeks[4],
        held_out=[week(32), week(33)],
        horizon=4,
        seed=1,
        rounds=20,
        threads=1,
        names=("ma13",),
    )
    figures = document(
        {1: found, 4: four},
        importance=pl.DataFrame({"feature": list(FEATURES[:3]), "gain": [0.5, 0.3, 0.2]}),
        prices=coverage(panel),
        lineage={"model_version": "m1"},
    )
    json.dumps(figures, allow_nan=False)
    assert set(figures["models"]) == {"xgboost", "ma13", "scan_pro", "ppml_fe", "gbm_no_promo"}
    assert set(figures["chain_product_week"]["models"]) == set(figures["models"])
    assert figures["horizon_4"]["product_store_week"]["models"]["xgboost"]["wape"] > 0
    assert len(figures["aims"]) == 6
    sentences = summary(figures)
    assert len(sentences) == 5
    page = render_html(figures)
    assert all(text.split(":")[0].replace("'", "&#39;") in page for text in sentences)
    assert "<script" not in page


def test_weeks_of_the_protocol() -> None:
    weeks = demand_weeks(week(40), first=FIRST, horizon=1)
    assert weeks.train == tuple(week(w) for w in range(25, 41))
    assert weeks.tuning_train + weeks.validation == weeks.train
    assert len(weeks.validation) == 3
    short = demand_weeks(week(5), first=FIRST, horizon=4)
    assert short.train == (week(4), week(5))
    with pytest.raises(ValueError, match="at least 2"):
        demand_weeks(week(4), first=FIRST, horizon=4)
    assert before([week(5)], extra=3, first=week(4)) == [week(4), week(5)]
    assert HORIZONS == (1, 4)


def test_a_model_forecasts_four_weeks_and_the_next_has_learned_from_what_came() -> None:
    train = [week(w) for w in range(10, 26)]
    made = origins(
        [week(w) for w in range(27, 33)],
        train=train,
        horizon=2,
        available=[week(w) for w in range(23, 33)],
    )
    assert [o.targets for o in made] == [
        tuple(week(w) for w in range(27, 31)),
        (week(31), week(32)),
    ]
    assert made[0].train == tuple(train)
    # As many weeks, the last of them two before the first one forecast.
    assert made[1].train == tuple(week(w) for w in range(14, 30))


def test_rolling_forecasts_do_not_look_ahead(panel: pl.DataFrame, trained: DemandTraining) -> None:
    def means(rows: pl.DataFrame) -> list[float]:
        found = evaluate(
            rows,
            model=trained.model,
            dispersion=trained.dispersions[1],
            train_weeks=trained.weeks[1],
            held_out=[week(w) for w in range(32, 38)],
            horizon=1,
            seed=1,
            rounds=5,
            threads=1,
            names=("gbm_no_promo",),
        )
        return (
            found.rows.filter(pl.col("week_start") < week(37))
            .select("week_start", "xgboost", "gbm_no_promo")
            .rows()
        )  # type: ignore[return-value]

    last = pl.col("week_start") == week(37)
    changed = panel.with_columns(pl.when(last).then(99).otherwise("units").alias("units"))
    assert means(panel) == means(changed)


def test_holidays() -> None:
    assert easter(2017) == date(2017, 4, 16)
    assert easter(2024) == date(2024, 3, 31)
    thanksgiving = season_of(date(2017, 11, 20))
    assert thanksgiving["holiday"] == 7.0
    assert season_of(date(2017, 11, 13))["weeks_to_holiday"] == 1.0
    assert season_of(date(2017, 11, 27))["weeks_since_holiday"] == 1.0
    assert season_of(date(2017, 7, 10))["holiday"] == 0.0
    # The Thursday of the week that begins on Monday, 10 July.
    assert season_of(date(2017, 7, 10))["day_of_month"] == 13.0
