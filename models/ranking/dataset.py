"""Examples to train on or to score: candidates, their features, and labels where known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

EVENT = ("as_of", "household_id")
KEY = ("as_of", "household_id", "product_id")
LABEL = "label"

# A household's stated demographics may audit fairness but never enter a model.
DEMOGRAPHICS = frozenset(
    {
        "age",
        "income",
        "home_ownership",
        "homeowner",
        "marital_status",
        "marital",
        "household_size",
        "household_comp",
        "composition",
        "kids",
        "kids_count",
    }
)


@dataclass(frozen=True)
class FeatureLists:
    """Which columns of which frame a model sees, in this order.

    Attributes:
        candidate: Columns of the candidates; keep their names.
        household: Columns of the household features; prefixed ``hh_``.
        product: Columns of the product features; prefixed ``p_``.
        household_product: Columns of the household x product features; prefixed ``hp_``.
    """

    candidate: tuple[str, ...] = ("personal_rank", "global_rank", "score")
    household: tuple[str, ...] = ()
    product: tuple[str, ...] = ()
    household_product: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The features as the model names them."""
        return (
            *self.candidate,
            *(f"hh_{name}" for name in self.household),
            *(f"p_{name}" for name in self.product),
            *(f"hp_{name}" for name in self.household_product),
        )

    @property
    def digest(self) -> str:
        """12 hexadecimal characters that change with any name or with their order."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:12]


def refuse_demographics(
    names: Iterable[str], *, demographics: frozenset[str] = DEMOGRAPHICS
) -> None:
    """Stop if a feature is named after a demographic, alone or as a part of its name.

    Args:
        names: Feature names, with or without a prefix.
        demographics: Names that must not occur.

    Raises:
        ValueError: Names the features and what they may be instead.
    """
    pattern = re.compile(rf"(^|_)({'|'.join(sorted(demographics))})(_|$)")
    # `size` is a demographic of households only: products and baskets have one as well.
    refused = [name for name in names if pattern.search(name) or name == "hh_size"]
    if refused:
        raise ValueError(
            f"features {refused} are named after demographics, which are never a model input; "
            "drop them from the feature list, or rename them if they hold something else"
        )


def examples(
    candidates: pl.LazyFrame,
    *,
    household: pl.LazyFrame,
    product: pl.LazyFrame,
    household_product: pl.LazyFrame,
    features: FeatureLists,
    purchases: pl.LazyFrame | None = None,
) -> pl.DataFrame:
    """Join candidates with features known at the same as-of, and with what was bought.

    Args:
        candidates: One row per household, product and as-of.
        household: Household features by ``household_id, as_of``.
        product: Product features by ``product_id, as_of``.
        household_product: Features by ``household_id, product_id, as_of``.
        features: What to take from each.
        purchases: ``household_id, product_id, as_of`` of what was bought in the week that starts
            at the as-of, mature weeks only; ``None`` when scoring.

    Returns:
        ``household_id, product_id, as_of, known_at, source``, every feature as Float32 (null where
        it is not known, as for a pair without a history), and Int8 ``label`` (1 bought, 0 not)
        if ``purchases`` were given. One row per candidate, sorted by as-of, household and product.

    Raises:
        ValueError: A feature is missing, not a number or a demographic, or a frame has two rows
            for one key.
    """
    refuse_demographics(features.names)
    joined = candidates.select(
        *KEY, "known_at", "source", *_numbers(candidates, "", features.candidate, "candidates")
    )
    for features_of, keys, prefix, names, title in (
        (household, ["household_id", "as_of"], "hh_", features.household, "household features"),
        (product, ["product_id", "as_of"], "p_", features.product, "product features"),
        (
            household_product,
            ["household_id", "product_id", "as_of"],
            "hp_",
            features.household_product,
            "household x product features",
        ),
    ):
        if names:
            right = features_of.select(*keys, *_numbers(features_of, prefix, names, title))
            joined = joined.join(right, on=keys, how="left")
    if purchases is not None:
        bought = purchases.select(*KEY).unique().with_columns(pl.lit(1, pl.Int8).alias(LABEL))
        joined = joined.join(bought, on=list(KEY), how="left").with_columns(
            pl.col(LABEL).fill_null(0)
        )
    collected = joined.sort(*KEY).collect()
    _one_row_per_candidate(collected, candidates)
    order = ["household_id", "product_id", "as_of", "known_at", "source", *features.names]
    return collected.select(*order, *([LABEL] if purchases is not None else []))


def _numbers(frame: pl.LazyFrame, prefix: str, names: tuple[str, ...], title: str) -> list[pl.Expr]:
    schema = frame.collect_schema()
    missing = [name for name in names if name not in schema]
    if missing:
        raise ValueError(
            f"{title}: no column {missing}; the frame has {sorted(schema)}. "
            "Correct the feature list or add the column to the feature set"
        )
    wrong = {
        name: str(schema[name])
        for name in names
        if not (schema[name].is_numeric() or schema[name] == pl.Boolean)
    }
    if wrong:
        raise ValueError(
            f"{title}: {wrong} are not numbers; encode them in the feature set or leave them out"
        )
    return [pl.col(name).cast(pl.Float32).alias(f"{prefix}{name}") for name in names]


def _one_row_per_candidate(frame: pl.DataFrame, candidates: pl.LazyFrame) -> None:
    expected = candidates.select(pl.len()).collect().item()
    if frame.height != expected:
        raise ValueError(
            f"examples: {expected:,} candidates became {frame.height:,} rows; a feature frame has "
            "two rows for one household, product and as-of. Remove the duplicates at their source"
        )
