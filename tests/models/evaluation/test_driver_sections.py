from __future__ import annotations

import json
from datetime import date

import polars as pl

from models.demand.fixed_effects import Estimate
from models.demand.panel_elasticity import (
    DISPLAY,
    FIXED_EFFECTS,
    MAILER,
    PRICE,
    TERMS,
    CategoryEffects,
)
from models.evaluation.driver_chart import TITLES
from models.evaluation.driver_sections import (
    driver_sections,
    elasticity_figures,
    elasticity_section,
)


def effects() -> list[CategoryEffects]:
    price = Estimate(PRICE, -2.0, 0.1, -2.2, -1.8)
    display = Estimate(DISPLAY, 0.3, 0.1, 0.1, 0.5)
    return [
        CategoryEffects(
            "SODA",
            1000,
            800,
            5,
            20,
            {FIXED_EFFECTS: {PRICE: price, DISPLAY: display}},
            {MAILER: "0 units in 0 stores with it, 50 in 10 are needed"},
        ),
        CategoryEffects("WINE", 10, 9, 1, 2, {}, dict.fromkeys(TERMS, "2 stores")),
    ]


def test_what_is_thin_is_said() -> None:
    section = elasticity_section(effects())
    assert "one per cent off the price sells 2.0 % more (1.8 to 2.2)" in section.text
    assert "display sells +35 %" in section.text
    assert "Too thin for mailer: 0 units" in section.text
    assert "Too little is sold to say anything of WINE." in section.text
    (row,) = section.rows
    assert row["Price elasticity"] == "-2.00 (-2.20 to -1.80)"
    assert row["Mailer"] == "too thin"
    figures = elasticity_figures(effects())
    assert json.loads(json.dumps(figures))["SODA"]["methods"][FIXED_EFFECTS][PRICE]["low"] == -2.2


def test_the_products_whose_promotions_moved_most_are_drawn() -> None:
    frame = pl.DataFrame(
        {
            "product_id": ["a", "b", "c"],
            "week_start": [date(2017, 1, 2)] * 3,
            **{f"units_{d}": [1.0, 1.0, 1.0] for d in TITLES},
        }
    ).with_columns(pl.Series("units_display", [0.0, 5.0, -3.0]), units=pl.lit(6.0))
    made = driver_sections(frame, names={"b": "cola"})
    assert [s.title for s in made] == ["What drives cola", "What drives c"]
    assert all("<svg" in str(s.chart) for s in made)
