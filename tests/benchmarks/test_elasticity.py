from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.elasticity import main

COLUMNS = ["--sales", "sold", "--price", "paid", "--group", "brand"]


@pytest.fixture
def juice(tmp_path: Path) -> Path:
    """Three brands with an elasticity of -3; dearer ones are liked better."""
    rng = np.random.default_rng(1)
    brand = rng.integers(0, 3, 1500)
    paid = np.exp(0.3 * brand + rng.normal(0, 0.15, brand.size))
    sold = np.exp(4 + 0.6 * brand - 3 * np.log(paid) + rng.normal(0, 0.3, brand.size))
    frame = pl.DataFrame({"sold": sold, "paid": paid, "brand": [f"b{i}" for i in brand]})
    path = tmp_path / "juice.csv"
    frame.write_csv(path)
    return path


def test_both_elasticities_and_the_warning(
    juice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    assert main([str(juice), *COLUMNS, "--json", str(file)]) == 0
    figures = json.loads(file.read_text())["figures"]
    methods = figures["methods"]
    assert methods["within"]["log_price"]["estimate"] == pytest.approx(-3, abs=0.2)
    assert methods["pooled"]["log_price"]["estimate"] > -2.3
    assert "confounded by brand" in figures["warnings"][0]
    assert "WARNING: Do not use the pooled elasticity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv", *COLUMNS], "no file nowhere.csv"),
        (["{juice}", "--sales", "sold", "--price", "cost"], "no column cost"),
    ],
)
def test_what_cannot_be_used_is_named(
    juice: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([argument.format(juice=juice) for argument in arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
