from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from checks.gates.gate import GateResult
from checks.gates.ranking import BEATS_GP_TOPFREQ
from models.evaluation.bootstrap import Interval
from models.evaluation.figures import metrics_json
from models.evaluation.report import render_html
from models.evaluation.result import EvaluationResult
from models.evaluation.sentences import summary

FAILED = GateResult(
    name=BEATS_GP_TOPFREQ,
    passed=False,
    blocking=True,
    value=-0.1,
    threshold=0.0,
    reason="not <better>",
)


class Page(HTMLParser):
    """Tags with attributes, and whether they close in order."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def html(result: EvaluationResult) -> str:
    return render_html(result)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    parsed = Page()
    parsed.feed(html)
    parsed.close()
    return parsed


def test_the_page_is_well_formed(page: Page) -> None:
    assert page.open == []


def test_the_page_needs_no_script_and_no_network(html: str, page: Page) -> None:
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe", "img"}]
    addresses = set(re.findall(r"https?://[^\"'\s<)]+", html))
    # Names of XML vocabularies, which nothing fetches.
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"\son\w+=", html)


def test_the_page_is_accessible(page: Page) -> None:
    figures = [attrs for tag, attrs in page.tags if tag == "figure"]
    assert len(figures) == 4
    assert all(f["role"] == "img" and f["aria-label"] for f in figures)
    names = [tag for tag, _ in page.tags]
    assert names.count("caption") == names.count("table") > 3
    assert ("html", {"lang": "en"}) in page.tags
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))


def test_both_themes_colour_the_charts(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    assert 'fill="var(--ink)"' in html
    assert 'stroke="var(--accent)"' in html


def test_summary_comes_first_in_five_sentences(result: EvaluationResult, html: str) -> None:
    sentences = summary(result)
    assert len(sentences) == 5
    assert all(s.endswith(".") for s in sentences)
    assert html.index(sentences[0]) < html.index("<table")


def test_the_figures_are_on_the_page(result: EvaluationResult, html: str) -> None:
    for metrics in result.metrics.values():
        for interval in metrics.values():
            assert f"{interval.estimate:.4f}" in html
    for fact in ("v-7", "412", "abc123", "deadbeef", "2017-10-30", "eta 0.1"):
        assert fact in html


def test_text_is_escaped(result: EvaluationResult, html: str) -> None:
    assert "p_<popular>" not in html
    assert "p_&lt;popular&gt;" in html
    failed = render_html(replace(result, gates=(FAILED,)))
    assert "not <better>" not in failed
    assert "not &lt;better&gt;" in failed


def test_a_failed_gate_is_said_first(result: EvaluationResult) -> None:
    failed = replace(result, gates=(FAILED,))
    assert summary(failed)[4].startswith("It may not be released: not <better>")
    assert "✗ Failed" in render_html(failed)
    passed = replace(result, gates=(replace(FAILED, passed=True),))
    assert summary(passed)[4].startswith("It passed every check")
    assert summary(result)[4].startswith("No release check")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "better, more than chance"),
        (-0.03, -0.01, "worse, more than chance"),
        (-0.01, 0.03, "may well be chance"),
    ],
)
def test_the_summary_says_what_the_interval_says(
    result: EvaluationResult, low: float, high: float, words: str
) -> None:
    interval = Interval(
        estimate=(low + high) / 2, low=low, high=high, confidence=0.95, events=9, households=9
    )
    differences = {**result.differences, "gp_topfreq": {"ndcg@3": interval}}
    assert words in summary(replace(result, differences=differences))[2]


def test_a_report_without_its_reference_is_refused(result: EvaluationResult) -> None:
    metrics = {n: v for n, v in result.metrics.items() if n != "gp_topfreq"}
    with pytest.raises(KeyError, match="compares with gp_topfreq"):
        render_html(replace(result, metrics=metrics))


def test_metrics_are_json(result: EvaluationResult) -> None:
    document = json.loads(json.dumps(metrics_json(result), allow_nan=False))
    assert set(document["models"]) == {"xgboost", "g_topfreq", "gp_topfreq"}
    assert set(document["models"]["xgboost"]) == {"recall@3", "ndcg@3", "phr@3"}
    assert set(document["differences"]["gp_topfreq"]["ndcg@3"]) == {"estimate", "low", "high"}
    assert set(document["candidate_recall"]) == {"personal", "global", "union"}
    assert document["weeks"] == ["2017-10-30", "2017-11-06", "2017-11-13"]
    assert document["lineage"]["maturity_cut"] == "2017-10-30"
    assert document["segments"]["repeat"]["models"]["xgboost"]["recall@3"] > 0


def test_the_same_result_gives_the_same_page(result: EvaluationResult, html: str) -> None:
    assert render_html(result) == html
