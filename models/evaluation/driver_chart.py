"""The driver decomposition: stacked bars told apart by their hatching, with the forecast on top."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from models.evaluation.charts import ACCENT, FONT, INK, MUTED, RULE, WIDTH, svg

# Drivers as readers know them, in the order they are stacked.
TITLES: Mapping[str, str] = {
    "base": "base",
    "season": "season",
    "price": "price",
    "display": "display",
    "mailer": "mailer",
    "cross": "competing products",
}

# Hatching by driver: told apart in grey, in print and without colour. Of 8 by 8 units.
_STROKE = f'stroke="{INK}" stroke-width="1.4" fill="none"'
_HATCHES: Mapping[str, str] = {
    "base": f'<rect width="8" height="8" fill="{RULE}"/>',
    "season": f'<circle cx="2" cy="2" r="1.2" fill="{INK}"/><circle cx="6" cy="6" r="1.2" '
    f'fill="{INK}"/>',
    "price": f'<path d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4" {_STROKE}/>',
    "display": f'<rect width="8" height="8" fill="{ACCENT}"/>',
    "mailer": f'<path d="M0,4 h8" {_STROKE}/>',
    "cross": f'<path d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4 M0,0 l8,8" {_STROKE}/>',
}


def decomposition(drivers: pl.DataFrame, *, title: str, ident: str) -> str:
    """Units of one product by week: what each driver adds (above zero) or takes (below).

    Args:
        drivers: ``week_start``, ``units`` and ``units_<driver>`` of ``TITLES``, one row per week,
            as ``demand.drivers.by_product_and_week`` sums them.
        title: Of the axis.
        ident: Prefix of the SVG's ids, unique on its page.

    Raises:
        ValueError: There are no rows, or a week occurs twice.
    """
    import altair as alt

    if drivers.is_empty() or drivers["week_start"].is_duplicated().any():
        raise ValueError(
            f"driver chart of {drivers.height} rows: it draws one row per week of one product; "
            "choose a product, and sum over stores"
        )
    ordered = drivers.sort("week_start").with_columns(
        pl.col("week_start").dt.strftime("%d %b").alias("week")
    )
    weeks = ordered["week"].to_list()
    names = list(TITLES.values())
    long = ordered.unpivot(
        on=[f"units_{driver}" for driver in TITLES],
        index=["week", "units"],
        variable_name="column",
        value_name="value",
    ).with_columns(
        pl.col("column").replace_strict({f"units_{d}": t for d, t in TITLES.items()}).alias("name"),
        pl.col("column")
        .replace_strict({f"units_{d}": i for i, d in enumerate(TITLES)}, return_dtype=pl.Int64)
        .alias("place"),
    )
    x = alt.X("week:O", sort=weeks, title="Week that starts on", axis=alt.Axis(labelAngle=0))
    fills = [f"url(#hatch-{driver})" for driver in TITLES]
    bars = (
        alt.Chart(long)
        .mark_bar(stroke=INK, strokeWidth=0.8, width={"band": 0.7})
        .encode(
            x=x,
            y=alt.Y("value:Q", title=title, stack="zero"),
            order=alt.Order("place:Q"),
            fill=alt.Fill(
                "name:N",
                scale=alt.Scale(domain=names, range=fills),
                legend=alt.Legend(
                    title=None,
                    orient="top",
                    columns=len(names),
                    symbolType="square",
                    symbolSize=260,
                    symbolStrokeWidth=0.8,
                    symbolStrokeColor=INK,
                    labelColor=INK,
                    labelFont=FONT,
                    labelFontSize=12,
                ),
            ),
        )
    )
    above = [pl.col(f"units_{driver}").clip(lower_bound=0) for driver in TITLES]
    base = alt.Chart(
        ordered.with_columns(
            pl.col("units").round(1).cast(pl.String).alias("text"),
            pl.sum_horizontal(above).alias("top"),
        )
    )
    marks = base.mark_point(shape="diamond", filled=True, size=70, color=INK, opacity=1).encode(
        x=x, y="units:Q"
    )
    labels = base.mark_text(dy=-12, fontSize=12, font=FONT, color=INK).encode(
        x=x, y="top:Q", text="text:N"
    )
    zero = alt.Chart(pl.DataFrame({"y": [0.0]})).mark_rule(color=MUTED).encode(y="y:Q")
    chart = alt.layer(bars, zero, marks, labels).properties(width=WIDTH, height=300)
    return _with_hatches(svg(chart, ident=ident), ident=ident)


def _with_hatches(drawn: str, *, ident: str) -> str:
    patterns = "".join(
        f'<pattern id="{ident}-hatch-{driver}" width="8" height="8" '
        f'patternUnits="userSpaceOnUse">{mark}</pattern>'
        for driver, mark in _HATCHES.items()
    )
    start = drawn.index(">") + 1
    return f"{drawn[:start]}<defs>{patterns}</defs>{drawn[start:]}"
