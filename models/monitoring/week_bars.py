"""Rows by week as a small bar chart: a missing or doubled week is seen sooner than read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from html import escape

_WIDTH, _HEIGHT, _FOOT = 640, 120, 18


def week_bars(rows: Mapping[date, int], *, title: str) -> str:
    """SVG of one bar per week, in the order of the weeks; a week without rows is a dash.

    Args:
        rows: Week to number of rows, at least one.
        title: Read out, and shown when pointed at.
    """
    weeks = sorted(rows)
    most = max(1, *rows.values())
    step = _WIDTH / len(weeks)
    bars = []
    for i, week in enumerate(weeks):
        height = max(1.0, rows[week] / most * (_HEIGHT - _FOOT))
        bars.append(
            f'<rect x="{i * step:.1f}" y="{_HEIGHT - _FOOT - height:.1f}" '
            f'width="{max(1.0, step - 1):.1f}" height="{height:.1f}">'
            f"<title>{week}: {rows[week]:,}</title></rect>"
        )
    label = escape(f"{title}: at most {most:,} rows a week")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img"><title>{label}</title>'
        f'<g fill="#4f43dd">{"".join(bars)}</g>'
        f'<g font-family="sans-serif" font-size="11" fill="#666">'
        f'<text x="0" y="{_HEIGHT - 4}">{weeks[0]}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 4}" text-anchor="end">{weeks[-1]}</text>'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 4}" text-anchor="middle">{label}</text>'
        "</g></svg>"
    )
