"""Point-in-time assembly: to each label the newest features that were known at its time.

For feature rows of any cadence. Weekly features and weekly labels share ``as_of`` and may be joined
on it; this is for instants inside a week, and for labels older or newer than their features.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

_FEATURE_ROW = "__feature_row"
_ENTITY = "__entity"
_TIME = "__time"
_FOUND_TIME = "__found_time"
_ORDER = "__order"
_OWN = (_FEATURE_ROW, _ENTITY, _TIME, _FOUND_TIME, _ORDER)

# Times are 64-bit integers underneath, so entities this far apart never overlap.
_TIME_RANGE = 2**64

_SHOWN = 5


def assemble(
    labels: pl.DataFrame,
    features: pl.DataFrame,
    *,
    on: str | Sequence[str],
    label_time: str,
    feature_time: str,
    columns: Sequence[str] | None = None,
    max_age: timedelta | None = None,
    prefix: str = "",
) -> pl.DataFrame:
    """Join to each label row the newest feature row of its entity that is not newer than it.

    A feature row qualifies if ``feature_time <= label_time``, equality included: a feature row's
    time is its as-of instant, and the row holds only what came strictly before it. Only the keys
    and times are matched; the features of the matched rows are then picked by position, so neither
    wide frame is ever sorted. Feature rows of entities without a label are not looked at.

    Args:
        labels: One row per example; duplicates are kept.
        features: At most one row per entity and time; in any order.
        on: Columns that identify the entity, in both frames and of one type.
        label_time: Time of the label, ``Date`` or ``Datetime``; not null.
        feature_time: Time of the feature row, of the same type; not null.
        columns: Feature columns to take; all but ``on`` and ``feature_time`` by default.
        max_age: Oldest allowed feature row, as ``label_time - feature_time``, inclusive; older
            ones count as none.
        prefix: Put before the feature columns' names.

    Returns:
        ``labels`` in its own order with the feature columns appended, null where none qualifies.

    Raises:
        ValueError: A column is missing, a time or key is null or of another type, a feature name
            occurs in both frames, or an entity has two feature rows at one time.
        RuntimeError: The join did not keep exactly one row per label.
    """
    keys = [on] if isinstance(on, str) else list(on)
    _refuse_mismatch(labels, features, keys=keys, times=(label_time, feature_time))
    taken = _feature_columns(features, columns=columns, keys=keys, feature_time=feature_time)
    _refuse_overlap(labels, [prefix + name for name in taken])

    rows = _newest_rows(
        labels,
        features,
        keys=keys,
        label_time=label_time,
        feature_time=feature_time,
        max_age=max_age,
    )
    picked = features.select(pl.col(taken).gather(rows))
    assembled = labels.with_columns(
        column.alias(prefix + column.name) for column in picked.iter_columns()
    )
    if rows.len() != labels.height or assembled.height != labels.height:
        raise RuntimeError(
            f"point-in-time join answered {rows.len():,} rows for {labels.height:,} labels; "
            "this is a fault of assemble(), report it with both frames' schemas"
        )
    return assembled


def _newest_rows(
    labels: pl.DataFrame,
    features: pl.DataFrame,
    *,
    keys: list[str],
    label_time: str,
    feature_time: str,
    max_age: timedelta | None,
) -> pl.Series:
    """Position of each label's feature row, null for none, in the order of ``labels``.

    One binary search per label in one sorted integer, entity above time. On 100,000 labels and a
    million rows that took half the time of ``join_asof``, which groups by the entity first.
    """
    # Entities without a label cannot match, and most of a feature table may be theirs.
    entities = labels.select(keys).unique().with_row_index(_ENTITY)
    right = (
        features.lazy()
        .select(*keys, pl.col(feature_time).alias(_TIME))
        .with_row_index(_FEATURE_ROW)
        .join(entities.lazy(), on=keys, how="inner")
        .select(_FEATURE_ROW, _ENTITY, _TIME, _entity_then_time().alias(_ORDER))
        .sort(_ORDER)
        .collect()
    )
    _refuse_duplicates(right, features=features, keys=keys, feature_time=feature_time)
    left = (
        labels.lazy()
        .select(*keys, pl.col(label_time).alias(_TIME))
        .join(entities.lazy(), on=keys, how="left", maintain_order="left")
        .select(_ENTITY, _TIME, _entity_then_time().alias(_ORDER))
        .collect()
    )
    # The number of rows not newer is also the position after the newest of them.
    after = right[_ORDER].search_sorted(left[_ORDER], side="right").cast(pl.Int64)
    position = pl.select(pl.when(after > 0).then(after - 1).cast(pl.get_index_type())).to_series()
    found = right.select(
        pl.col(_FEATURE_ROW, _ENTITY).gather(position),
        pl.col(_TIME).gather(position).alias(_FOUND_TIME),
    )
    own = pl.col(_ENTITY) == found[_ENTITY]
    if max_age is not None:
        own &= pl.col(_TIME) - found[_FOUND_TIME] <= max_age
    return left.select(pl.when(own).then(found[_FEATURE_ROW])).to_series()


def _entity_then_time() -> pl.Expr:
    return pl.col(_ENTITY).cast(pl.Int128) * _TIME_RANGE + pl.col(_TIME).to_physical()


def _feature_columns(
    features: pl.DataFrame, *, columns: Sequence[str] | None, keys: list[str], feature_time: str
) -> list[str]:
    if columns is None:
        return [c for c in features.columns if c not in {*keys, feature_time}]
    missing = [c for c in columns if c not in features.columns]
    if missing:
        raise ValueError(f"features lack {missing}; they have {features.columns}")
    return list(columns)


def _refuse_mismatch(
    labels: pl.DataFrame, features: pl.DataFrame, *, keys: list[str], times: tuple[str, str]
) -> None:
    for name, frame, needed in (
        ("labels", labels, [*keys, times[0]]),
        ("features", features, [*keys, times[1]]),
    ):
        missing = [c for c in needed if c not in frame.columns]
        if missing:
            raise ValueError(f"{name} lack {missing}; they have {frame.columns}")
        reserved = [c for c in frame.columns if c in _OWN]
        if reserved:
            raise ValueError(f"{name} have {reserved}, which assemble() uses; rename them")
        nulls = [c for c in needed if frame[c].null_count()]
        if nulls:
            raise ValueError(f"{name} have nulls in {nulls}; drop or fill those rows first")
    for left, right in [(k, k) for k in keys] + [times]:
        if labels.schema[left] != features.schema[right]:
            raise ValueError(
                f"labels.{left} is {labels.schema[left]} but features.{right} is "
                f"{features.schema[right]}; cast one to the other's type"
            )


def _refuse_overlap(labels: pl.DataFrame, names: list[str]) -> None:
    overlap = sorted(set(names) & set(labels.columns))
    if overlap:
        raise ValueError(
            f"{overlap} occur in labels and features; name the features to take with columns=, "
            "or pass prefix="
        )


def _refuse_duplicates(
    ordered: pl.DataFrame, *, features: pl.DataFrame, keys: list[str], feature_time: str
) -> None:
    again = ordered.filter(pl.col(_ORDER) == pl.col(_ORDER).shift(1))
    if again.is_empty():
        return
    shown = features.select(*keys, feature_time)[again[_FEATURE_ROW].head(_SHOWN)]
    raise ValueError(
        f"{again.height:,} feature row(s) repeat an entity and time, e.g. "
        f"{shown.sort(pl.all()).rows()}; keep one row per {[*keys, feature_time]}"
    )
