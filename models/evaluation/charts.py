"""Charts of the evaluation report as inline SVG that needs no script, network or colour.

Colours are CSS variables of the page, so a chart follows its light and dark theme; systems differ
by dash and marker, and are named beside their line or bar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import altair as alt

INK = "var(--ink)"
MUTED = "var(--muted)"
RULE = "var(--rule)"
ACCENT = "var(--accent)"

WIDTH = 620

# Told apart without colour. The judged model is always the first.
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [3, 6], [1, 4])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")

# Measured without a browser, so it must be one whose width the converter knows.
FONT = "sans-serif"

# A browser's own sans-serif may run wider than the one that was measured.
PADDING = {"left": 12, "right": 56, "top": 8, "bottom": 8}


def ndcg_by_week(
    by_week: pl.DataFrame, *, model: str, k: int, titles: Mapping[str, str], ident: str
) -> str:
    """NDCG per week, one line per system, each named at its end.

    Args:
        by_week: ``as_of, system, ndcg``.
        model: The system drawn in the accent colour.
        k: For the axis title.
        titles: System to the name shown.
        ident: Prefix of the SVG's ids, unique on its page.
    """
    import altair as alt

    systems = [model, *(s for s in by_week["system"].unique(maintain_order=True) if s != model)]
    data = by_week.with_columns(
        pl.col("system").replace_strict(dict(titles)).alias("name"),
        pl.col("as_of").dt.strftime("%d %b").alias("week"),
    ).sort("as_of")
    order = data["week"].unique(maintain_order=True).to_list()
    names = [titles[s] for s in systems]
    colour = alt.Color(
        "name:N",
        scale=alt.Scale(domain=names, range=[ACCENT, *[INK] * (len(names) - 1)]),
        legend=None,
    )
    x = alt.X("week:O", sort=order, title="Week that starts on", axis=alt.Axis(labelAngle=0))
    y = alt.Y("ndcg:Q", title=f"NDCG@{k}", scale=alt.Scale(zero=True, nice=True))
    base = alt.Chart(data).encode(x=x, y=y, color=colour)
    lines = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash(
            "name:N", scale=alt.Scale(domain=names, range=list(DASHES)), legend=None
        )
    )
    points = base.mark_point(filled=True, size=50, opacity=1).encode(
        shape=alt.Shape("name:N", scale=alt.Scale(domain=names, range=list(SHAPES)), legend=None)
    )
    ends = _spread(data.filter(pl.col("week") == order[-1]).select("week", "name", "ndcg"))
    labels = (
        alt.Chart(ends)
        .mark_text(align="left", dx=10, fontSize=12, font=FONT)
        .encode(x=x, y=alt.Y("at:Q"), text="name:N", color=colour)
    )
    return svg(alt.layer(lines, points, labels).properties(width=WIDTH, height=280), ident=ident)


# From here on a number is money or units.
LARGE = 10.0


def differences(intervals: pl.DataFrame, *, title: str, ident: str) -> str:
    """A difference per row with its interval, and a line at no difference.

    Args:
        intervals: ``name, estimate, low, high``.
        title: Of the axis.
        ident: Prefix of the SVG's ids, unique on its page.
    """
    import altair as alt

    # Metrics have four decimals, money and units none.
    largest = intervals.select(pl.col("low", "high").abs().max()).row(0)
    digits = 4 if max(largest) < LARGE else 0
    data = intervals.with_columns(
        pl.struct("estimate", "low", "high")
        .map_elements(
            lambda r: (
                f"{r['estimate']:+,.{digits}f}  "
                f"({r['low']:+,.{digits}f} to {r['high']:+,.{digits}f})"
            ),
            return_dtype=pl.String,
        )
        .alias("text")
    )
    y = alt.Y("name:N", title=None, sort=data["name"].to_list(), axis=alt.Axis(labelLimit=260))
    low = min(0.0, float(data["low"].to_numpy().min()))
    high = max(0.0, float(data["high"].to_numpy().max()))
    margin = 0.05 * (high - low) or 0.01
    domain = alt.Scale(domain=[low - margin, high + margin], nice=False)
    bars = (
        alt.Chart(data)
        .mark_rule(strokeWidth=3, color=ACCENT)
        .encode(
            y=y,
            x=alt.X("low:Q", title=title, scale=domain, axis=alt.Axis(tickCount=6)),
            x2="high:Q",
        )
    )
    points = (alt.Chart(data).mark_point(filled=True, size=90, color=ACCENT, opacity=1)).encode(
        y=y, x="estimate:Q"
    )
    # Above the interval: beside it, the longest would leave the plot.
    text = (
        alt.Chart(data)
        .mark_text(align="left", baseline="bottom", dx=-4, dy=-8, fontSize=12, color=INK, font=FONT)
        .encode(y=y, x="low:Q", text="text:N")
    )
    zero = (
        alt.Chart(pl.DataFrame({"x": [0.0]}))
        .mark_rule(strokeDash=[4, 3], color=MUTED)
        .encode(x="x:Q")
    )
    height = 44 * data.height
    return svg(
        alt.layer(zero, bars, points, text).properties(width=WIDTH - 120, height=height),
        ident=ident,
    )


def bars(frame: pl.DataFrame, *, label: str, value: str, title: str, ident: str) -> str:
    """Horizontal bars in the order given, each with its share in per cent.

    Args:
        frame: ``label`` and ``value`` (0..1).
        label: Column of names.
        value: Column of shares.
        title: Of the axis.
        ident: Prefix of the SVG's ids, unique on its page.
    """
    import altair as alt

    data = frame.select(
        pl.col(label).alias("label"),
        pl.col(value).alias("value"),
        (pl.col(value) * 100).round(1).cast(pl.String).add(" %").alias("text"),
    )
    y = alt.Y("label:N", title=None, sort=data["label"].to_list(), axis=alt.Axis(labelLimit=260))
    x = alt.X("value:Q", title=title, axis=alt.Axis(format=".0%"))
    marks = alt.Chart(data).mark_bar(color=ACCENT, height={"band": 0.62}).encode(y=y, x=x)
    text = (
        alt.Chart(data)
        .mark_text(align="left", dx=6, fontSize=12, color=INK, font=FONT)
        .encode(y=y, x=x, text="text:N")
    )
    chart = alt.layer(marks, text).properties(width=WIDTH - 60, height=24 * data.height)
    return svg(chart, ident=ident)


def reliability(bins: pl.DataFrame, *, ident: str) -> str:
    """What was predicted against what came true, and the line where both are equal.

    Args:
        bins: ``probability, outcome`` (0..1) and ``offers``; each point is named by its offers.
        ident: Prefix of the SVG's ids, unique on its page.
    """
    import altair as alt

    data = bins.with_columns(
        pl.col("offers").map_elements(lambda n: f"{n:,} offers", return_dtype=pl.String).alias("n")
    )
    top = max(float(data["probability"].to_numpy().max()), float(data["outcome"].to_numpy().max()))
    scale = alt.Scale(domain=[0.0, min(1.0, top * 1.15 or 1.0)], nice=False)
    axis = alt.Axis(format=".0%")
    x = alt.X("probability:Q", title="Predicted", scale=scale, axis=axis)
    y = alt.Y("outcome:Q", title="Bought", scale=scale, axis=axis)
    end = scale.domain[1]
    equal = (
        alt.Chart(pl.DataFrame({"probability": [0.0, end], "outcome": [0.0, end]}))
        .mark_line(strokeDash=[4, 3], color=MUTED)
        .encode(x=x, y=y)
    )
    base = alt.Chart(data).encode(x=x, y=y)
    marks = base.mark_line(color=ACCENT, strokeWidth=2, point={"size": 80, "color": ACCENT})
    text = base.mark_text(align="left", dx=9, dy=10, fontSize=11, color=INK, font=FONT).encode(
        text="n:N"
    )
    return svg(alt.layer(equal, marks, text).properties(width=420, height=320), ident=ident)


def pairs(frame: pl.DataFrame, *, columns: Mapping[str, str], title: str, ident: str) -> str:
    """Two values per row, told apart by their marker and named at the first row.

    Args:
        frame: ``name`` and the columns; a row is drawn in the order given.
        columns: Column to the name shown: the first a filled circle, the second a hollow square.
        title: Of the axis.
        ident: Prefix of the SVG's ids, unique on its page.
    """
    import altair as alt

    y = alt.Y("name:N", title=None, sort=frame["name"].to_list(), axis=alt.Axis(labelLimit=260))
    high = max(float(frame[column].to_numpy().max()) for column in columns)
    scale = alt.Scale(domain=[0.0, high * 1.15 or 1.0], nice=False)
    layers = []
    for (column, name), shape, filled, above in zip(
        columns.items(), ("circle", "square"), (True, False), (-14, 14), strict=True
    ):
        data = frame.select("name", pl.col(column).alias("value"))
        base = alt.Chart(data).encode(y=y, x=alt.X("value:Q", title=title, scale=scale))
        layers.append(
            base.mark_point(
                shape=shape, filled=filled, size=80, color=ACCENT if filled else INK, opacity=1
            )
        )
        layers.append(
            alt.Chart(data.head(1).with_columns(pl.lit(name).alias("said")))
            .mark_text(align="center", dy=above, fontSize=11, color=INK, font=FONT)
            .encode(y=y, x=alt.X("value:Q", title=title, scale=scale), text="said:N")
        )
    return svg(
        alt.layer(*layers).properties(width=WIDTH - 120, height=40 * frame.height), ident=ident
    )


def _spread(ends: pl.DataFrame, *, gap: float = 0.075) -> pl.DataFrame:
    """Move names apart that would print over each other; ``gap`` is a share of the axis."""
    step = gap * float(ends["ndcg"].to_numpy().max() or 1.0)
    at: list[float] = []
    for value in ends.sort("ndcg")["ndcg"].to_list():
        at.append(max(value, at[-1] + step) if at else value)
    return ends.sort("ndcg").with_columns(pl.Series("at", at))


def svg(chart: alt.LayerChart | alt.FacetChart, *, ident: str) -> str:
    """A chart as inline SVG in the page's own colours, its ids prefixed by ``ident``."""
    import vl_convert as vlc

    themed = (
        chart.configure(background="transparent", font=FONT, padding=PADDING)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            gridColor=RULE,
            domainColor=MUTED,
            tickColor=MUTED,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
        )
    )
    spec: dict[str, Any] = themed.to_dict()
    drawn = vlc.vegalite_to_svg(spec)
    # Clip paths are numbered from 0 in every chart; two charts share one page.
    drawn = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{ident}-", drawn)
    # The figure around it carries the description; the parts would be read out one by one.
    return drawn.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
