"""The response report: a page for people and figures for machines, from one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.evaluation.pages import environment
from models.evaluation.response import HEURISTIC, MODEL, Evaluation, K

# What a reader sees instead of a machine's name.
TITLES = {MODEL: "Response model", HEURISTIC: "Own rhythm (repeat cadence)"}
SETS = {"held_out": "Held-out campaigns", "rolling": "All rolling campaigns"}
LINEAGE = ("data_snapshot", "git_revision", "seed", "maturity_cut", "examples", "examples_version")


def document(
    found: Evaluation, *, model_version: str | None, lineage: Mapping[str, Any]
) -> dict[str, Any]:
    """The figures of the report as JSON values.

    Returns:
        ``report``, ``model_version`` (null if none was trained), ``results`` (see
        ``ResponseResult.as_dict``; those whose ``status`` is ``too_few`` hold no figures),
        ``campaigns`` and ``lineage``.
    """
    return {
        "report": "response",
        "model_version": model_version,
        "k": K,
        "results": [result.as_dict() for result in found.results],
        "campaigns": [
            {**row, "starts": str(row["starts"])} for row in found.campaigns.iter_rows(named=True)
        ],
        "lineage": {name: lineage[name] for name in LINEAGE},
    }


def summary(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Plain sentences for a reader who does not know the field.

    Args:
        found: From ``document``.
    """
    asked = (
        "For each household that a coupon campaign was sent to, we predicted which of the "
        f"campaign's products it would buy, from what was known before the start, and compared the "
        f"first {found['k']} with what it then bought. That is response: it does not say that the "
        "campaign was the cause."
    )
    return (asked, *(_sentence(result) for result in found["results"]))


def _sentence(result: Mapping[str, Any]) -> str:
    where = f"{SETS.get(result['name'], result['name'])}, {result['days']} days: "
    if result["status"] != "measured":
        return f"{where}nothing can be said. {result['reason'][0].upper()}{result['reason'][1:]}."
    gain = result["differences"][f"ndcg@{found_k(result)}"]
    better = (
        "better than chance would explain"
        if gain["low"] > 0
        else "worse than chance would explain"
        if gain["high"] < 0
        else "which may well be chance"
    )
    return (
        f"{where}in {result['events']:,} household-campaigns with a purchase the order of the list "
        f"(NDCG) differs from that of the household's own rhythm by {gain['estimate']:+.4f} "
        f"({gain['low']:+.4f} to {gain['high']:+.4f}), {better}."
    )


def found_k(result: Mapping[str, Any]) -> int:
    """The cut-off that a result's metrics were measured at."""
    (name,) = (m for m in result["differences"] if m.startswith("ndcg@"))
    return int(name.removeprefix("ndcg@"))


def render_html(found: Mapping[str, Any]) -> str:
    """The report as one self-contained page: no script, no network, readable without colour.

    Args:
        found: From ``document``.
    """
    pages = environment(
        title_of=lambda name: TITLES.get(name, name),
        set_of=lambda name: SETS.get(name, name),
    )
    return pages.get_template("response.html.j2").render(
        found=found, sentences=summary(found), heuristic=HEURISTIC
    )
