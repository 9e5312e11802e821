"""The demand report: a page for people and figures for machines, from one evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from models.evaluation import charts
from models.evaluation.demand import MODEL
from models.evaluation.demand_held_out import HeldOut
from models.evaluation.demand_levels import CATEGORY, CHAIN, ROWS
from models.evaluation.pages import environment

# What a reader sees instead of a machine's name.
TITLES = {
    "ma13": "Mean of 13 weeks",
    "scan_pro": "Base x SCAN*PRO",
    "ppml_fe": "Poisson with fixed effects",
    "gbm_no_promo": "Trees without promotions",
    "lightgbm": "Challenger: LightGBM",
    "xgboost": "Demand model",
}
LEVEL_TITLES = {
    ROWS: "Product, store and week",
    CHAIN: "Product and week, the whole chain",
    CATEGORY: "Store, category and week",
}
METRIC_TITLES = {
    "wape": "WAPE",
    "promo_wape": "WAPE, promoted",
    "wrmsse": "WRMSSE",
    "bias": "Bias",
    "poisson_deviance": "Deviance",
}
IMPORTANT_FEATURES = 15

# Aims of the forecast, and where each stands in the figures.
MAX_BIAS = 0.02
COVERED = (0.93, 0.97)
DEVIANCE_GAIN = 0.10
WAPE_GAIN = 0.15


@dataclass(frozen=True)
class Section:
    """A part of the page that another analysis made.

    Attributes:
        title: Heading.
        text: One or two plain sentences.
        chart: Inline SVG; empty for none.
        rows: Table, a mapping per row; the first one's keys are the heading.
    """

    title: str
    text: str
    chart: str = ""
    rows: Sequence[Mapping[str, Any]] = ()


def document(
    found: Mapping[int, HeldOut],
    *,
    importance: pl.DataFrame,
    prices: pl.DataFrame,
    lineage: Mapping[str, Any],
) -> dict[str, Any]:
    """The figures of the report as JSON values; what is not finite becomes null.

    Args:
        found: Horizon to what was found; 1 among them.
        importance: ``feature, gain``.
        prices: ``prices.coverage`` of the judged weeks.
        lineage: Of the model: version, data, code, seed, weeks, parameters.

    Returns:
        ``report, model, models`` (product-store-week: name to metric to value) with ``intervals``,
        ``differences``, ``zero_forecast``, ``poisson_floor``; the same under
        ``chain_product_week`` and ``store_category_week``; ``coverage``, ``aims``, ``horizon_<h>``
        for other horizons, ``importance``, ``prices``, ``weeks``, ``lineage``.
    """
    one = found[1]
    made = {
        "report": "demand",
        "model": MODEL,
        **one.levels[ROWS],
        "weeks": [str(w) for w in one.rows["week_start"].unique().sort().to_list()],
        CHAIN: one.levels[CHAIN],
        CATEGORY: one.levels[CATEGORY],
        "coverage": one.coverage,
        "aims": aims(one),
        **{
            f"horizon_{h}": {**part.levels, "coverage": part.coverage}
            for h, part in sorted(found.items())
            if h != 1
        },
        "importance": dict(importance.select("feature", "gain").rows()),
        "prices": prices.to_dicts(),
        "lineage": dict(lineage),
    }
    return _finite(made)


def aims(found: HeldOut) -> list[dict[str, Any]]:
    """What was asked of the forecast, its value, and whether it is met.

    Returns:
        ``name, value, aim, met`` per aim; one whose figures are missing is left out.
    """
    levels, covered = found.levels, found.coverage["covered"]

    def gain(level: str, metric: str, over: str) -> float | None:
        models = levels[level]["models"]
        if over not in models:
            return None
        return 1.0 - models[MODEL][metric] / models[over][metric]

    asked: list[tuple[str, float | None, str, Any]] = [
        (
            f"deviance below {TITLES['gbm_no_promo']} by 10 %",
            gain(ROWS, "poisson_deviance", "gbm_no_promo"),
            ">= 0.10",
            lambda v: v >= DEVIANCE_GAIN,
        ),
        (
            f"deviance below {TITLES['scan_pro']}",
            gain(ROWS, "poisson_deviance", "scan_pro"),
            "> 0",
            lambda v: v > 0,
        ),
        *(
            (
                f"WAPE below {TITLES['scan_pro']} by 15 %, {LEVEL_TITLES[level].lower()}",
                gain(level, "wape", "scan_pro"),
                ">= 0.15",
                lambda v: v >= WAPE_GAIN,
            )
            for level in (CHAIN, CATEGORY)
        ),
        (
            "bias within 2 %",
            levels[ROWS]["models"][MODEL]["bias"],
            "-0.02 to 0.02",
            lambda v: abs(v) <= MAX_BIAS,
        ),
        (
            "95 % interval covers 93 to 97 %",
            covered,
            "0.93 to 0.97",
            lambda v: COVERED[0] <= v <= COVERED[1],
        ),
    ]
    return [
        {"name": name, "value": value, "aim": aim, "met": bool(met(value))}
        for name, value, aim, met in asked
        if value is not None
    ]


def summary(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Five plain sentences: what was asked, how far off, against what, how sure, what is missed.

    Args:
        found: From ``document``.
    """
    model = found["models"][MODEL]
    chain = found[CHAIN]
    asked = (
        f"Before each of {len(found['weeks'])} weeks it had never seen, the model forecast how "
        f"many units of every drink on the shelf each store's panel would buy: {found['rows']:,} "
        f"forecasts, of which {found['zero_share']:.0%} came out as nothing sold."
    )
    direction = "more" if model["bias"] > 0 else "less"
    total = (
        f"In all it forecast {abs(model['bias']):.1%} {direction} than the {found['units']:,.0f} "
        "units that were sold."
    )
    wape, floor = chain["models"][MODEL]["wape"], chain["poisson_floor"]["wape"]
    far = (
        f"For a product in the whole chain it is off by {wape:.0%} of the week's sales on average; "
        f"somebody who knew the true rate of everything would still be off by {floor:.0%}, because "
        "so little is sold of each."
    )
    against = _against(chain)
    missed = [aim["name"] for aim in found["aims"] if not aim["met"]]
    last = (
        f"Its 95 % intervals held what was sold in {found['coverage']['covered']:.1%} of cases; "
        + (
            f"what it was asked for and does not reach: {'; '.join(missed)}."
            if missed
            else "it reaches everything it was asked for."
        )
    )
    return asked, total, far, against, last


def _against(chain: Mapping[str, Any]) -> str:
    other = chain["differences"].get("scan_pro")
    if other is None:
        return "The usual base-times-promotion rule (SCAN*PRO) was not measured beside it."
    wape = other["wape"]
    size = "smaller" if wape["estimate"] < 0 else "larger"
    sure = wape["high"] < 0 or wape["low"] > 0
    chance = "more than chance would explain" if sure else "which may be chance"
    return (
        "The usual base-times-promotion rule (SCAN*PRO) is off by "
        f"{chain['models']['scan_pro']['wape']:.0%}: the model's error is "
        f"{abs(wape['estimate']):.0%} {size}, {chance}."
    )


def render_html(found: Mapping[str, Any], *, sections: Sequence[Section] = ()) -> str:
    """The report as one self-contained page: no script, no network, readable without colour.

    Args:
        found: From ``document``.
        sections: Further parts, elasticities and drivers say, in their order.
    """
    pages = environment(title_of=lambda name: TITLES.get(name, name))
    levels = [(ROWS, found), (CHAIN, found[CHAIN]), (CATEGORY, found[CATEGORY])]
    important = pl.DataFrame(
        list(found["importance"].items())[:IMPORTANT_FEATURES],
        schema={"feature": pl.String, "gain": pl.Float64},
        orient="row",
    )
    return pages.get_template("demand.html.j2").render(
        found=found,
        sentences=summary(found),
        metric_titles=METRIC_TITLES,
        levels=[
            {
                "name": name,
                "title": LEVEL_TITLES[name],
                "figures": level,
                "chart": _differences(level, ident=f"diff-{name}"),
            }
            for name, level in levels
        ],
        horizons={
            key.removeprefix("horizon_"): value
            for key, value in found.items()
            if key.startswith("horizon_")
        },
        chart_importance=charts.bars(
            important,
            label="feature",
            value="gain",
            title="Share of the model's total gain",
            ident="gain",
        ),
        chart_pit=charts.bars(
            pl.DataFrame(
                {
                    "name": [f"{i / 10:.1f} to {(i + 1) / 10:.1f}" for i in range(10)],
                    "share": found["coverage"]["histogram"],
                }
            ),
            label="name",
            value="share",
            title="Share of sales; 10 % each if the forecasts are right",
            ident="pit",
        ),
        sections=sections,
        rows_level=ROWS,
    )


def _differences(level: Mapping[str, Any], *, ident: str) -> str:
    metric = "poisson_deviance" if ident.endswith(ROWS) else "wape"
    rows = [
        {"name": TITLES.get(name, name), **values[metric]}
        for name, values in level["differences"].items()
    ]
    if not rows:
        return ""
    return charts.differences(
        pl.DataFrame(rows),
        title=f"{METRIC_TITLES[metric]} of the model over the other's, less 1",
        ident=ident,
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
