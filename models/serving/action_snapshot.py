"""The action snapshot: a week's plan, what else could be done, and what answers what-if questions.

Everything a store's request needs, without the lake: files by name, tables as Parquet, arrays as
``.npy``, the demand model as UBJSON. Where they lie on disk is not here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime

import numpy as np
import polars as pl

from models.actions.rules import admissible
from models.actions.settings import ActionSettings, read_settings
from models.demand.dispersion import Dispersion
from models.demand.features import FEATURES
from models.demand.plan_basis import ARRAYS, PlanBasis, arrays_of, restored

FORMAT = 1
# Of a store's actions that no plan may hold yet: shown as considered.
CONSIDERED = 30
TABLES = ("plan", "candidates", "rows", "products", "weeks")
PRODUCTS = ("product_id", "category", "type")
WEEKS = ("store_id", "week_start", "units", "forecast")


@dataclass(frozen=True)
class ActionFacts:
    """What an action snapshot is.

    Attributes:
        week: Monday it plans for.
        known_at: When the newest row behind it became known, naive UTC.
        data_snapshot: Version of the lake it was made from.
        model_version: Of the demand model.
        decision: ``publish`` or ``run_a_test``.
        reason: Of the decision, in words.
        dispersion: How sales scatter around the forecasts.
        correction: Factor of the week's forecasts.
        display_codes: Of ``PlanBasis``.
        mailer_codes: Likewise.
        features: Of the basis, in order: ``models.demand.features.FEATURES`` when it was written.
    """

    format: int
    week: date
    known_at: datetime
    data_snapshot: str
    model_version: str
    decision: str
    reason: str
    dispersion: Mapping[str, float]
    correction: float
    display_codes: tuple[str, ...]
    mailer_codes: tuple[str, ...]
    features: tuple[str, ...] = FEATURES


@dataclass(frozen=True, eq=False)
class ActionSnapshot:
    """An action snapshot ready to answer.

    Attributes:
        facts: What it is.
        plan: Store to its rows of ``actions.plan``.
        candidates: Store to what it could do, ``models.actions.candidates.SCHEMA``.
        basis: Of what-if answers; ``None`` when other code wrote it.
        basis_problem: Why there is none; empty if there is.
        model: The demand model's UBJSON bytes.
        settings: Costs and limits the plan was made with.
        products: Product to its category and type.
        weeks: Store to ``week_start, units, forecast``: the last weeks and the coming ones.
        stores: All stores it knows.
    """

    facts: ActionFacts
    plan: Mapping[str, pl.DataFrame]
    candidates: Mapping[str, pl.DataFrame]
    basis: PlanBasis | None
    basis_problem: str
    model: bytes
    settings: ActionSettings
    products: Mapping[str, tuple[str | None, str | None]]
    weeks: Mapping[str, pl.DataFrame]
    stores: frozenset[str]

    @property
    def dispersion(self) -> Dispersion:
        return Dispersion(**self.facts.dispersion)


def worth_keeping(candidates: pl.DataFrame, settings: ActionSettings) -> pl.DataFrame:
    """What a request can need of a week's candidates.

    Those that a plan may hold, and per store the ``CONSIDERED`` others worth most after costs.
    """
    allowed = admissible(candidates, settings.limits)
    net = pl.col("value") - pl.col("cost")
    best = (
        candidates.filter(~allowed)
        .sort("store_id", net, "product_id", "action", descending=[False, True, False, False])
        # One action of a product is enough to consider.
        .unique(["store_id", "product_id"], keep="first", maintain_order=True)
        .group_by("store_id", maintain_order=True)
        .head(CONSIDERED)
    )
    kept = pl.concat([candidates.filter(allowed), best.select(candidates.columns)])
    return kept.sort("store_id", "product_id", "action")


def snapshot_files(
    *,
    facts: ActionFacts,
    plan: pl.DataFrame,
    candidates: pl.DataFrame,
    products: pl.DataFrame,
    weeks: pl.DataFrame,
    basis: PlanBasis,
    model: bytes,
    settings_text: str,
) -> dict[str, bytes]:
    """The files of a snapshot by name; ``read_files`` reads them back.

    Args:
        facts: What it is.
        plan: Rows of ``actions.plan`` of the week.
        candidates: Of ``worth_keeping``.
        products: ``PRODUCTS``, one row each.
        weeks: ``WEEKS``; units of past weeks, forecasts of coming ones.
        basis: Of the week.
        model: Demand model one week ahead, UBJSON.
        settings_text: ``actions.toml`` the plan was made with.
    """
    tables = {
        "plan": plan,
        "candidates": candidates,
        "rows": basis.rows,
        "products": products.select(PRODUCTS),
        "weeks": weeks.select(WEEKS),
    }
    files = {"facts.json": _to_json(facts), "model.ubj": model}
    files["actions.toml"] = settings_text.encode()
    for name, table in tables.items():
        stream = io.BytesIO()
        table.write_parquet(stream)
        files[f"{name}.parquet"] = stream.getvalue()
    for name, array in arrays_of(basis).items():
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        files[f"{name}.npy"] = stream.getvalue()
    return files


def without_lineage(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files without the lake's version, which moves with every commit: what they say."""
    facts = replace(_from_json(files["facts.json"]), data_snapshot="")
    return {**files, "facts.json": _to_json(facts)}


def read_files(files: Mapping[str, bytes]) -> ActionSnapshot:
    """A snapshot from its files.

    Raises:
        ValueError: A file is missing, of another format, or does not fit the others.
    """
    names = ["facts.json", "model.ubj", "actions.toml"]
    names += [f"{name}.parquet" for name in TABLES] + [f"{name}.npy" for name in ARRAYS]
    missing = sorted(set(names) - set(files))
    if missing:
        raise ValueError(f"files missing: {', '.join(missing)}")
    facts = _from_json(files["facts.json"])
    tables = {name: pl.read_parquet(io.BytesIO(files[f"{name}.parquet"])) for name in TABLES}
    arrays = {
        name: np.load(io.BytesIO(files[f"{name}.npy"]), allow_pickle=False) for name in ARRAYS
    }
    by_store = {name: _by_store(tables[name]) for name in ("plan", "candidates", "weeks")}
    sold = set(tables["rows"]["store_id"].unique())
    basis, problem = _basis(tables["rows"], arrays, facts)
    return ActionSnapshot(
        facts=facts,
        plan=by_store["plan"],
        candidates=by_store["candidates"],
        basis=basis,
        basis_problem=problem,
        model=files["model.ubj"],
        settings=read_settings(files["actions.toml"].decode()),
        products={row[0]: (row[1], row[2]) for row in tables["products"].iter_rows()},
        weeks=by_store["weeks"],
        stores=frozenset(sold | by_store["plan"].keys() | by_store["candidates"].keys()),
    )


def _basis(
    rows: pl.DataFrame, arrays: Mapping[str, np.ndarray], facts: ActionFacts
) -> tuple[PlanBasis | None, str]:
    """The basis, or why this code cannot use it; the plan is as good either way."""
    if facts.features != FEATURES:
        other = sorted(set(facts.features) ^ set(FEATURES))
        differs = ", ".join(other) or "their order"
        return None, f"it was written for other demand features ({differs})"
    basis = restored(
        rows, arrays, display_codes=facts.display_codes, mailer_codes=facts.mailer_codes
    )
    return basis, ""


def _by_store(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    parts = table.partition_by("store_id", as_dict=True, maintain_order=True)
    return {str(store): part for (store,), part in parts.items()}


def _to_json(facts: ActionFacts) -> bytes:
    return json.dumps(asdict(facts), default=lambda v: v.isoformat(), indent=1).encode()


def _from_json(text: bytes) -> ActionFacts:
    values = json.loads(text)
    if values.get("format") != FORMAT:
        raise ValueError(f"format {values.get('format')}, this code reads {FORMAT}")
    values["week"] = date.fromisoformat(values["week"])
    values["known_at"] = datetime.fromisoformat(values["known_at"])
    for name in ("display_codes", "mailer_codes", "features"):
        values[name] = tuple(values[name])
    return ActionFacts(**values)
