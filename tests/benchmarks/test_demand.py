from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from benchmarks.demand import main, run, split
from models.demand.series import checked
from models.evaluation.demand_levels import ROWS
from models.evaluation.demand_metrics import METRICS
from tests.models.demand.market import market, week

MODELS = {"ma13", "scan_pro", "ppml_fe", "gbm_no_promo", "lightgbm", "xgboost"}


@pytest.fixture(scope="module")
def panel() -> pl.DataFrame:
    return market(stores=4, products=4, weeks=36)


def test_the_file_it_writes(panel: pl.DataFrame, tmp_path: Path) -> None:
    panel.write_parquet(tmp_path / "panel.parquet")
    target = tmp_path / "out.json"
    assert (
        main(
            [
                str(tmp_path / "panel.parquet"),
                "--last",
                "3",
                "--threads",
                "1",
                "--json",
                str(target),
            ]
        )
        == 0
    )
    written = json.loads(target.read_text())
    assert written["benchmark"] == "demand"
    assert set(written["models"]) == MODELS
    assert all(set(values) == set(METRICS) for values in written["models"].values())
    assert written["figures"]["test_weeks"] == [str(week(w)) for w in (33, 34, 35)]
    assert written["ratios"]["wape_over_scan_pro"] > 0


def test_optional_columns_may_be_null_or_missing(panel: pl.DataFrame) -> None:
    bare = panel.drop("category", "panel_trips", "revenue").with_columns(
        pl.lit(None, dtype=pl.String).alias("manufacturer_id"),
        pl.when(pl.col("units") > 0).then("display").alias("display"),
    )
    found = run(bare, last=2, horizon=4, threads=1)
    assert set(found.levels[ROWS]["models"]) == MODELS


def test_nothing_is_learned_after_the_first_forecast_is_made(panel: pl.DataFrame) -> None:
    test, train = split(checked(panel), last=3, horizon=4)
    assert test == [week(33), week(34), week(35)]
    assert train[-1] == week(29)
    with pytest.raises(ValueError, match="nothing is left"):
        split(checked(panel), last=36, horizon=1)
    with pytest.raises(ValueError, match="at least"):
        split(checked(panel), last=34, horizon=2)


def test_the_last_weeks_sales_do_not_move_their_forecast(panel: pl.DataFrame) -> None:
    changed = panel.with_columns(
        pl.when(pl.col("week_start") == week(35))
        .then(pl.col("units") + 5)
        .otherwise("units")
        .alias("units")
    )
    facts = [run(each, last=1, threads=1).facts for each in (panel, changed)]
    assert facts[0]["settings"] == facts[1]["settings"]
    assert facts[0]["importance"] == facts[1]["importance"]


def test_a_file_that_cannot_be_used_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(tmp_path / "none.parquet")]) == 2
    assert "no file" in capsys.readouterr().err
    market(weeks=8).drop("price").write_parquet(tmp_path / "bad.parquet")
    assert main([str(tmp_path / "bad.parquet")]) == 2
    assert "no column price" in capsys.readouterr().err
