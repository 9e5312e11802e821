from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks import ranking
from benchmarks.ranking import main, read
from tests.models.ranking.next_baskets import START, ordered, shop


def silent(_: str) -> None:
    pass


def write(folder: Path, frame: pl.DataFrame, name: str = "data.parquet") -> Path:
    path = folder / name
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.mark.slow
def test_the_result_as_machines_read_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data = write(tmp_path, shop(households=25).with_columns(pl.lit("red").alias("colour")))
    target = tmp_path / "out" / "ranking.json"
    assert main([str(data), "--json", str(target), "--k", "10"]) == 0
    result = json.loads(target.read_text())
    assert set(result) == {"benchmark", "figures", "ratios", "machine", "revision", "models"}
    assert result["benchmark"] == "ranking"
    assert len(result["models"]) == 11
    for metrics in result["models"].values():
        assert set(metrics) == {"recall@10", "ndcg@10", "phr@10"}
        assert all(0 <= value <= 1 for value in metrics.values())
    ndcg = {name: metrics["ndcg@10"] for name, metrics in result["models"].items()}
    ratio = ndcg["xgboost"] / ndcg["gp_topfreq"]
    assert result["ratios"]["ndcg_over_gp_topfreq"] == pytest.approx(ratio)
    difference = result["figures"]["differences"]["gp_topfreq"]["ndcg@10"]
    assert difference["estimate"] == pytest.approx(ndcg["xgboost"] - ndcg["gp_topfreq"])
    assert difference["low"] <= difference["estimate"] <= difference["high"]
    printed = capsys.readouterr()
    assert "gp_topfreq" in printed.out
    assert "baselines" in printed.err


@pytest.mark.slow
def test_households_of_all_kinds(tmp_path: Path) -> None:
    def of(household: str, days: range, product: str) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "household_id": [household] * len(days),
                "basket_id": [f"{household}-{day}" for day in days],
                "sold_at": [START + timedelta(minutes=12 * day) for day in days],
                "product_id": [product] * len(days),
            }
        )

    # One basket only; 10,000 baskets of one product; a product that nobody bought before.
    odd = [
        of("one", range(5), "p01").head(1),
        of("busy", range(10_000), "p02"),
        of("odd", range(9000, 9004), "new"),
    ]
    frame = pl.concat([shop(households=10), *odd])
    doubled = pl.concat([frame, frame.head(200)])
    for split in ("last-basket", "calendar"):
        judged, _, _ = ranking.run(doubled, split=split, k=10, seed=1)
        again, _, _ = ranking.run(frame, split=split, k=10, seed=1)
        assert judged.metrics == again.metrics
        assert judged.metrics["xgboost"]["ndcg@10"] > 0


@pytest.mark.slow
def test_when_everybody_always_buys_the_same_every_system_is_perfect() -> None:
    frame = pl.DataFrame(
        {
            "household_id": [f"h{i % 20}" for i in range(400)],
            "basket_id": [f"b{i // 2}" if i % 2 else f"b{i}" for i in range(400)],
            "order": [i // 20 for i in range(400)],
            "product_id": ["tea"] * 400,
        }
    )
    judged, _, _ = ranking.run(frame, split="last-basket", k=10, seed=1)
    assert {metrics["ndcg@10"] for metrics in judged.metrics.values()} == {1.0}


def test_csv_reads_as_parquet_does(tmp_path: Path) -> None:
    frame = shop(households=3).with_columns(
        pl.col("household_id").str.replace("h", ""), pl.col("product_id").str.replace("p", "")
    )
    parquet = read(write(tmp_path, frame), seed=1, progress=silent)
    csv = read(write(tmp_path, frame, "data.csv"), seed=1, progress=silent)
    assert csv.cast({"sold_at": pl.Datetime("us")}).equals(parquet)


def test_too_many_households_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = shop(households=30, days=12)
    data = write(tmp_path, frame)
    monkeypatch.setattr(ranking, "HOUSEHOLDS", 7)
    lines: list[str] = []
    kept = read(data, seed=1, progress=lines.append)
    assert kept["household_id"].n_unique() == 7
    assert "sample of 7" in lines[-1]
    assert kept.equals(read(data, seed=1, progress=silent))
    monkeypatch.setattr(ranking, "LINES", frame.height // 10)
    assert read(data, seed=1, progress=silent)["household_id"].n_unique() == 2


@pytest.mark.parametrize(
    ("frame", "arguments", "message"),
    [
        (shop(households=2).drop("basket_id"), [], "basket_id"),
        (shop(households=2).drop("sold_at"), [], "sold_at or order"),
        (shop(households=2, days=6), [], "3 or more are needed"),
        (shop(households=2, days=12), ["--split", "calendar"], "21 are needed"),
        (ordered(shop(households=2)), ["--split", "calendar"], "use --split last-basket"),
    ],
)
def test_data_that_cannot_be_used_is_explained(
    frame: pl.DataFrame,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    assert main([str(write(tmp_path, frame)), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_missing_or_foreign_file_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([str(tmp_path / "none.parquet")]) == 2
    (tmp_path / "data.xlsx").write_text("?")
    assert main([str(tmp_path / "data.xlsx")]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "no file" in printed
    assert "neither Parquet nor CSV" in printed
