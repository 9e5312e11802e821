"""Rows by week as a picture."""

from __future__ import annotations

from datetime import date
from xml.etree import ElementTree as ET

from models.monitoring.week_bars import week_bars

SVG = "{http://www.w3.org/2000/svg}"


def bars(rows: dict[date, int]) -> list[ET.Element]:
    return ET.fromstring(week_bars(rows, title="raw.<x>")).findall(f".//{SVG}rect")  # noqa: S314


def test_one_bar_per_week_in_order() -> None:
    found = bars({date(2017, 1, 9): 5, date(2017, 1, 2): 10})
    assert [b.find(f"{SVG}title").text for b in found] == ["2017-01-02: 10", "2017-01-09: 5"]
    assert float(found[0].get("height")) == 2 * float(found[1].get("height"))


def test_weeks_without_rows_are_seen() -> None:
    (bar,) = bars({date(2017, 1, 2): 0})
    assert float(bar.get("height")) == 1
