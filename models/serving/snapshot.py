"""The online snapshot as arrays: one as-of week's candidates and features, laid out for lookup.

Rows are sorted by household and product, so that one binary search finds a household and a slice
holds its candidates. Files, versions on disk and the pointer are not here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime

import numpy as np
import polars as pl

from models.pseudonyms import PSEUDONYM_LENGTH

# Raised when the layout changes: a service then refuses a snapshot it cannot read.
FORMAT = 1
# 64 bits of a content hash: two different weeks never share a version.
VERSION_LENGTH = 16
HOUSEHOLD_DTYPE = np.dtype(f"S{PSEUDONYM_LENGTH}")
ATTRIBUTES = ("category", "type")


@dataclass(frozen=True)
class SnapshotArrays:
    """The numbers of a snapshot: H households, R candidate rows, F features, K popular products.

    Attributes:
        households: (H,) pseudonyms as 12 bytes, sorted.
        offsets: (H + 1,) int64; rows of household i are ``offsets[i]:offsets[i + 1]``.
        product_codes: (R,) int32 positions in ``SnapshotNames.products``.
        source_codes: (R,) int16 positions in ``SnapshotNames.sources``.
        features: (R, F) float32, row-major; a null is NaN.
        popular_product_codes: (K,) int32, most popular first.
        popular_source_codes: (K,) int16.
        popular_features: (K, F) float32, as for a household without history.
    """

    households: np.ndarray
    offsets: np.ndarray
    product_codes: np.ndarray
    source_codes: np.ndarray
    features: np.ndarray
    popular_product_codes: np.ndarray
    popular_source_codes: np.ndarray
    popular_features: np.ndarray

    def items(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ARRAY_NAMES}


ARRAY_NAMES = tuple(f.name for f in fields(SnapshotArrays))


@dataclass(frozen=True)
class SnapshotNames:
    """The text of a snapshot: what the codes stand for.

    Attributes:
        features: Feature names in column order.
        sources: Candidate sources by code.
        products: Product ids by code.
        attributes: Per attribute, one text or None for each product.
    """

    features: tuple[str, ...]
    sources: tuple[str, ...]
    products: tuple[str, ...]
    attributes: Mapping[str, tuple[str | None, ...]]


@dataclass(frozen=True)
class SnapshotManifest:
    """What a snapshot is, and the digests that prove its parts whole.

    Attributes:
        version: Hash of everything else here: equal content has an equal version.
        as_of: Monday at whose start the features stand.
        known_at: When the newest row behind the features became known, naive UTC.
        data_snapshot: Version of the lake the rows were read from.
        feature_set_hash: Definition of the features; a model must have been trained on the same.
        history: Version of the online history that its rows were made of; "" if there is none.
        digests: SHA-256 per array, and of the names.
    """

    format: int
    version: str
    as_of: date
    known_at: datetime
    data_snapshot: str
    feature_set_hash: str
    history: str
    feature_names: tuple[str, ...]
    households: int
    rows: int
    products: int
    popular: int
    digests: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=lambda v: v.isoformat(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> SnapshotManifest:
        """Read what ``to_json`` wrote; ``ValueError`` says which field is missing or unknown."""
        values = json.loads(text)
        if isinstance(values, dict):
            # Snapshots written before they named one.
            values.setdefault("history", "")
        expected = {f.name for f in fields(cls)}
        if not isinstance(values, dict) or set(values) != expected:
            differs = set(values) ^ expected if isinstance(values, dict) else expected
            raise ValueError(f"manifest fields missing or unknown: {', '.join(sorted(differs))}")
        values["as_of"] = date.fromisoformat(values["as_of"])
        values["known_at"] = datetime.fromisoformat(values["known_at"])
        values["feature_names"] = tuple(values["feature_names"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The n candidates of one lookup: codes, and a view of their n x F features."""

    product_codes: np.ndarray
    source_codes: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Snapshot:
    """A snapshot ready for lookup; its arrays may be memory-mapped."""

    manifest: SnapshotManifest
    arrays: SnapshotArrays
    names: SnapshotNames

    def lookup(self, household_id: str) -> Candidates | None:
        """Candidates of a household by its pseudonym; None when the snapshot has none."""
        if len(household_id) != PSEUDONYM_LENGTH:
            # numpy would cut a longer text and find somebody else.
            return None
        households = self.arrays.households
        key = np.array(household_id.encode(), dtype=HOUSEHOLD_DTYPE)
        i = int(households.searchsorted(key))
        if i == len(households) or households[i] != key:
            return None
        rows = slice(int(self.arrays.offsets[i]), int(self.arrays.offsets[i + 1]))
        return Candidates(
            product_codes=self.arrays.product_codes[rows],
            source_codes=self.arrays.source_codes[rows],
            features=self.arrays.features[rows],
        )

    @property
    def popular(self) -> Candidates:
        """What is popular with everybody, most popular first."""
        return Candidates(
            product_codes=self.arrays.popular_product_codes,
            source_codes=self.arrays.popular_source_codes,
            features=self.arrays.popular_features,
        )

    def product_ids(self, candidates: Candidates) -> list[str]:
        """Product ids of a lookup, row by row."""
        products = self.names.products
        return [products[code] for code in candidates.product_codes.tolist()]


def snapshot_arrays(
    candidates: pl.DataFrame,
    *,
    popular: pl.DataFrame,
    feature_names: Sequence[str],
    products: pl.DataFrame | None = None,
    sources: Sequence[str] = (),
) -> tuple[SnapshotArrays, SnapshotNames]:
    """Lay out a week's candidates for lookup.

    Args:
        candidates: household_id (12-character pseudonym), product_id, source, and the features as
            numbers or booleans; one row per household and product, in any order.
        popular: product_id, source and the features a household without history would have; most
            popular first. Answers households the snapshot does not know.
        feature_names: Feature columns in the model's order. They become float32, as in training.
        products: product_id and any of category and type, one row per product, to show people. All
            of them get a code: an event may make any of them a candidate.
        sources: Sources that get a code though nothing came from them yet.

    Returns:
        The arrays and the names of their codes.

    Raises:
        ValueError: A column is missing, null or not numeric, a pair occurs twice, or a frame is
            empty.
    """
    names = list(feature_names)
    _check_frame(candidates, "candidates", ["household_id", "product_id", "source"], names)
    _check_frame(popular, "popular", ["product_id", "source"], names)
    _check_unique(candidates, "candidates", ["household_id", "product_id"])
    _check_unique(popular, "popular", ["product_id"])
    _check_households(candidates["household_id"])

    rows = candidates.sort("household_id", "product_id")
    counts = rows.group_by("household_id", maintain_order=True).len()
    listed = [] if products is None else [products["product_id"]]
    product_ids = _dictionary(rows["product_id"], popular["product_id"], *listed)
    source_names = _dictionary(
        rows["source"], popular["source"], pl.Series(list(sources), dtype=pl.String)
    )
    arrays = SnapshotArrays(
        households=counts["household_id"].to_numpy().astype(HOUSEHOLD_DTYPE),
        offsets=np.concatenate([[0], counts["len"].cum_sum().to_numpy()]).astype(np.int64),
        product_codes=_codes(rows["product_id"], product_ids, np.int32),
        source_codes=_codes(rows["source"], source_names, np.int16),
        features=feature_matrix(rows, names),
        popular_product_codes=_codes(popular["product_id"], product_ids, np.int32),
        popular_source_codes=_codes(popular["source"], source_names, np.int16),
        popular_features=feature_matrix(popular, names),
    )
    return arrays, SnapshotNames(
        features=tuple(names),
        sources=tuple(source_names),
        products=tuple(product_ids),
        attributes=_attributes(product_ids, products),
    )


def snapshot_manifest(
    arrays: SnapshotArrays,
    names: SnapshotNames,
    *,
    as_of: date,
    known_at: datetime,
    data_snapshot: str,
    feature_set_hash: str,
    history: str = "",
) -> SnapshotManifest:
    """Describe a snapshot and derive its version from its content."""
    if known_at.tzinfo is not None:
        raise ValueError(f"known_at {known_at} has a time zone: times are naive UTC")
    manifest = SnapshotManifest(
        format=FORMAT,
        version="",
        as_of=as_of,
        known_at=known_at,
        data_snapshot=data_snapshot,
        feature_set_hash=feature_set_hash,
        history=history,
        feature_names=names.features,
        households=len(arrays.households),
        rows=len(arrays.product_codes),
        products=len(names.products),
        popular=len(arrays.popular_product_codes),
        digests=digests(arrays, names),
    )
    version = hashlib.sha256(manifest.to_json().encode()).hexdigest()[:VERSION_LENGTH]
    return replace(manifest, version=version)


def digests(arrays: SnapshotArrays, names: SnapshotNames) -> dict[str, str]:
    """SHA-256 of each array (type, shape and values) and of the names."""
    found = {name: _array_digest(array) for name, array in arrays.items().items()}
    found["names"] = hashlib.sha256(names_to_json(names).encode()).hexdigest()
    return found


def names_to_json(names: SnapshotNames) -> str:
    return json.dumps(asdict(names), ensure_ascii=False, separators=(",", ":"))


def names_from_json(text: str) -> SnapshotNames:
    values = json.loads(text)
    return SnapshotNames(
        features=tuple(values["features"]),
        sources=tuple(values["sources"]),
        products=tuple(values["products"]),
        attributes={name: tuple(column) for name, column in values["attributes"].items()},
    )


def _array_digest(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _check_frame(
    frame: pl.DataFrame, name: str, text_columns: list[str], feature_names: list[str]
) -> None:
    missing = [c for c in (*text_columns, *feature_names) if c not in frame.columns]
    if missing:
        raise ValueError(
            f"{name}: columns {', '.join(missing)} are missing; it has {', '.join(frame.columns)}"
        )
    if not feature_names:
        raise ValueError(f"{name}: no feature names given; name the model's feature columns")
    if frame.is_empty():
        raise ValueError(f"{name}: no rows; build the week's candidates before the snapshot")
    for column in text_columns:
        if frame[column].dtype != pl.String:
            raise ValueError(f"{name}.{column}: expected text, got {frame[column].dtype}")
        if frame[column].null_count():
            raise ValueError(f"{name}.{column}: {frame[column].null_count():,} null(s)")
    for feature in feature_names:
        dtype = frame[feature].dtype
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            raise ValueError(f"{name}.{feature}: features are numbers, got {dtype}; encode it")


def _check_unique(frame: pl.DataFrame, name: str, key: list[str]) -> None:
    repeated = frame.height - frame.n_unique(key)
    if repeated:
        raise ValueError(f"{name}: {repeated:,} row(s) repeat a {' and '.join(key)}")


def _check_households(ids: pl.Series) -> None:
    wrong = ids.filter(
        (ids.str.len_bytes() != PSEUDONYM_LENGTH) | (ids.str.len_chars() != PSEUDONYM_LENGTH)
    )
    if len(wrong):
        raise ValueError(
            f"candidates.household_id: {len(wrong):,} value(s) are no {PSEUDONYM_LENGTH}-character "
            "pseudonym; raw ids never enter a snapshot"
        )


def _dictionary(*columns: pl.Series) -> list[str]:
    return pl.concat([c.unique() for c in columns]).unique().sort().to_list()


def _codes(column: pl.Series, dictionary: list[str], dtype: type[np.signedinteger]) -> np.ndarray:
    return column.cast(pl.Enum(dictionary)).to_physical().to_numpy().astype(dtype)


def feature_matrix(frame: pl.DataFrame, feature_names: Sequence[str]) -> np.ndarray:
    """(rows, features) float32 as models see it; a null is NaN."""
    floats = frame.select(pl.col(list(feature_names)).cast(pl.Float32).fill_null(float("nan")))
    return np.ascontiguousarray(floats.to_numpy(), dtype=np.float32)


def _attributes(
    product_ids: list[str], products: pl.DataFrame | None
) -> dict[str, tuple[str | None, ...]]:
    if products is None:
        return {}
    _check_unique(products, "products", ["product_id"])
    shown = [name for name in ATTRIBUTES if name in products.columns]
    joined = pl.DataFrame({"product_id": product_ids}).join(
        products.select("product_id", *shown), on="product_id", how="left", maintain_order="left"
    )
    return {name: tuple(joined[name].to_list()) for name in shown}
