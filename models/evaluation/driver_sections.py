"""Parts of the demand report: what prices and promotions do, and what drives single forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from models.demand.elasticity import ORTHOGONAL
from models.demand.panel_elasticity import (
    FIXED_EFFECTS,
    TERMS,
    TITLES,
    CategoryEffects,
    sentence,
)
from models.evaluation.demand_report import Section
from models.evaluation.driver_chart import decomposition

METHODS = {FIXED_EFFECTS: "fixed effects", ORTHOGONAL: "orthogonal"}


def elasticity_section(found: Sequence[CategoryEffects]) -> Section:
    """Price, display and mailer effects by category, and where the data are too thin."""
    rows = [
        {
            "Category": effects.category,
            "Method": METHODS[method],
            "Units": f"{effects.units:,}",
            **{TITLES[term].capitalize(): _cell(effects, method, term) for term in TERMS},
        }
        for effects in found
        for method in METHODS
        if method in effects.methods
    ]
    silent = [effects.category for effects in found if not effects.methods]
    text = (
        "Effects on logs, with 95 % intervals clustered by store: an elasticity of -2 means that "
        "one per cent off the price sells about 2 % more; a display of .30 sells 35 % more. Fixed "
        "effects compare each product in a store with itself in other weeks; the orthogonal "
        "estimate also takes out what competitors' promotions, trips and the week before explain. "
        + " ".join(sentence(effects) for effects in found if effects.methods)
        + (f" Too little is sold to say anything of {', '.join(silent)}." if silent else "")
    )
    return Section(title="What prices and promotions do", text=text, rows=rows)


def elasticity_figures(found: Sequence[CategoryEffects]) -> dict[str, Any]:
    """The same for machines: category to units, estimates by method and term, and what is thin."""
    return {
        effects.category: {
            "units": effects.units,
            "rows": effects.rows,
            "methods": {
                method: {term: e.as_dict() for term, e in terms.items()}
                for method, terms in effects.methods.items()
            },
            "thin": dict(effects.thin),
        }
        for effects in found
    }


def driver_sections(
    drivers: pl.DataFrame, *, names: Mapping[str, str] | None = None, products: int = 2
) -> list[Section]:
    """One chart per product: those whose promotions moved most.

    Args:
        drivers: Of ``drivers.by_product_and_week``.
        names: Product id to what people call it.
        products: How many charts.
    """
    promoted = pl.sum_horizontal(pl.col(f"units_{d}").abs() for d in ("price", "display", "mailer"))
    order = (
        drivers.group_by("product_id")
        .agg(promoted.sort().sum().alias("moved"))
        .sort("moved", "product_id", descending=[True, False])
        .head(products)
    )
    known = names or {}
    text = (
        "Each bar is a week's forecast for the chain. What is above zero adds to it, what is below "
        "takes away; together they are the forecast (the diamond). Parts are relative to an "
        "average week, so no display takes a little away. They say what the model goes by, not "
        "what an action would cause."
    )
    return [
        Section(
            title=f"What drives {known.get(product, product)}",
            text=text,
            chart=decomposition(
                drivers.filter(pl.col("product_id") == product),
                title="Units per week",
                ident=f"drivers-{i}",
            ),
        )
        for i, product in enumerate(order["product_id"])
    ]


def _cell(effects: CategoryEffects, method: str, term: str) -> str:
    estimates = effects.methods[method]
    if term not in estimates:
        return "too thin"
    e = estimates[term]
    return f"{e.estimate:+.2f} ({e.low:+.2f} to {e.high:+.2f})"
