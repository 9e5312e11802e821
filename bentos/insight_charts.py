"""Small charts of the insight cards as inline SVG: no script, no network, colours of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

WIDTH = 560
_ROW = 26
_NAMES = 210
_FIGURES = 96
_HEIGHT, _FOOT, _TOP = 150, 34, 16
# Every second week is named, or they run into each other.
_NAMED = 2


def lift_chart(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Lift of each action with its 95 % interval, and a line at none.

    Args:
        rows: ``rank, says, lift_low, lift, lift_high``, as ``/recommend_actions`` gives them.
    """
    low = min(0.0, *(row["lift_low"] for row in rows))
    high = max(0.0, *(row["lift_high"] for row in rows))
    span = (high - low) or 1.0
    left, right = _NAMES, WIDTH - _FIGURES
    height = _ROW * len(rows) + 30

    def x(value: float) -> float:
        return round(left + (value - low) / span * (right - left), 1)

    parts = [
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="{height - 26}"/>',
    ]
    for place, row in enumerate(rows):
        y = place * _ROW + _ROW / 2
        label = f"{row['rank']}. {row['says']}"
        figures = f"{row['lift']:+.1f}"
        ends = (x(row["lift_low"]), x(row["lift_high"]))
        parts += [
            f'<text x="0" y="{y + 4}">{escape(label)}</text>',
            f'<line class="range" x1="{ends[0]}" x2="{ends[1]}" y1="{y}" y2="{y}"/>',
            f'<circle class="dot" cx="{x(row["lift"])}" cy="{y}" r="5"/>',
            f'<text x="{WIDTH}" y="{y + 4}" text-anchor="end">{figures}</text>',
        ]
    axis = "lift, units a week, with its 95 % interval"
    parts.append(f'<text class="axis" x="{left}" y="{height - 6}">{axis}</text>')
    said = "; ".join(
        f"{row['rank']}. {row['says']}: {row['lift']:.1f} units a week, "
        f"{row['lift_low']:.1f} to {row['lift_high']:.1f}"
        for row in rows
    )
    return _svg(parts, height=height, title=f"Lift of each action. {said}")


def weeks_chart(weeks: Sequence[Mapping[str, Any]]) -> Markup:
    """Units the store sold in its last weeks, and those foreseen.

    Args:
        weeks: ``week_start, units, forecast`` in order; one of the two is null.
    """
    values = [(row["units"] if row["units"] is not None else row["forecast"]) or 0 for row in weeks]
    top = max(values) or 1.0
    sold = [v for r, v in zip(weeks, values, strict=True) if r["units"] is not None]
    step = WIDTH / len(weeks)
    ground = _HEIGHT - _FOOT
    parts = [f'<line class="line" x1="0" x2="{WIDTH}" y1="{ground}" y2="{ground}"/>']
    for place, (row, value) in enumerate(zip(weeks, values, strict=True)):
        ahead = row["units"] is None
        height = round(value / top * (ground - _TOP), 1)
        x, middle = round(place * step + step * 0.15, 1), round(place * step + step / 2, 1)
        kind = "bar ahead" if ahead else "bar"
        parts.append(
            f'<rect class="{kind}" x="{x}" y="{ground - height}" width="{round(step * 0.7, 1)}" '
            f'height="{height}"/>'
        )
        if ahead:
            parts.append(
                f'<text x="{middle}" y="{ground - height - 4}" text-anchor="middle">'
                f"{value:,.0f}</text>"
            )
        # Not the last one sold: the first forecast is named beside it.
        if ahead or (len(sold) - place) % _NAMED == 0:
            parts.append(
                f'<text class="axis" x="{middle}" y="{ground + 14}" text-anchor="middle">'
                f"{row['week_start']:%-d %b}</text>"
            )
    foreseen = ", ".join(
        f"{r['week_start']:%-d %b} {v:,.0f}"
        for r, v in zip(weeks, values, strict=True)
        if r["units"] is None
    )
    mean = f"{sum(sold) / len(sold):,.0f}" if sold else "none"
    title = f"Units by week. Sold: {mean} a week on average. Forecast: {foreseen or 'none'}."
    return _svg(parts, height=_HEIGHT, title=title)


def _svg(parts: Sequence[str], *, height: float, title: str) -> Markup:
    # Every text among the parts is escaped or a number.
    return Markup(  # noqa: S704
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}">{"".join(parts)}</svg>'
    )
