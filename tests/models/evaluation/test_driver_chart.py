from __future__ import annotations

import re
from datetime import date, timedelta

import polars as pl
import pytest

from models.evaluation.driver_chart import TITLES, decomposition


def drivers(weeks: int = 3) -> pl.DataFrame:
    columns = {f"units_{d}": [2.0 * (i + 1)] * weeks for i, d in enumerate(TITLES)}
    columns["units_cross"] = [-1.0] * weeks
    frame = pl.DataFrame(
        {"week_start": [date(2017, 1, 2) + timedelta(weeks=i) for i in range(weeks)], **columns}
    )
    return frame.with_columns(pl.sum_horizontal(list(columns)).alias("units"))


def test_every_driver_has_a_hatching_of_its_own_and_a_name() -> None:
    svg = decomposition(drivers(), title="Units", ident="one")
    for driver, title in TITLES.items():
        assert f'<pattern id="one-hatch-{driver}"' in svg
        assert f"url(#one-hatch-{driver})" in svg
        assert f">{title}<" in svg
    marks = re.findall(r"<pattern[^>]*>(.*?)</pattern>", svg)
    assert len(set(marks)) == len(TITLES)
    # The forecast is written at its mark.
    assert ">29.0<" in svg


def test_two_products_are_refused() -> None:
    with pytest.raises(ValueError, match="one row per week"):
        decomposition(pl.concat([drivers(), drivers()]), title="Units", ident="x")
