"""The snapshot's layout: every row is found again, and bad frames are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.pseudonyms import ALPHABET
from models.serving.snapshot import (
    Snapshot,
    SnapshotManifest,
    names_from_json,
    names_to_json,
    snapshot_arrays,
    snapshot_manifest,
)

FEATURES = ["spend", "is_promoted"]
HOUSEHOLDS = st.text(alphabet=ALPHABET, min_size=12, max_size=12)
PRODUCTS = st.text(min_size=1, max_size=6)
SPEND = st.one_of(st.none(), st.floats(width=32, allow_nan=False))
ROWS = st.dictionaries(
    st.tuples(HOUSEHOLDS, PRODUCTS),
    st.tuples(st.sampled_from(["personal", "global", "promoted"]), SPEND, st.booleans()),
    min_size=1,
    max_size=40,
)
POPULAR = pl.DataFrame(
    {
        "product_id": ["p9", "p1"],
        "source": ["popular", "popular"],
        "spend": [0.0, None],
        "is_promoted": [True, False],
    },
    schema_overrides={"spend": pl.Float64},
)


def frame(rows: dict) -> pl.DataFrame:
    return pl.DataFrame(
        [(h, p, *values) for (h, p), values in rows.items()],
        schema={
            "household_id": pl.String,
            "product_id": pl.String,
            "source": pl.String,
            "spend": pl.Float64,
            "is_promoted": pl.Boolean,
        },
        orient="row",
    )


def snapshot(candidates: pl.DataFrame, products: pl.DataFrame | None = None) -> Snapshot:
    arrays, names = snapshot_arrays(
        candidates, popular=POPULAR, feature_names=FEATURES, products=products
    )
    manifest = snapshot_manifest(
        arrays,
        names,
        as_of=date(2018, 1, 1),
        known_at=datetime.fromisoformat("2018-01-01T05:00"),
        data_snapshot="42",
        feature_set_hash="abc",
    )
    return Snapshot(manifest=manifest, arrays=arrays, names=names)


@given(rows=ROWS)
def test_every_household_finds_its_own_rows_and_no_other(rows: dict) -> None:
    found = snapshot(frame(rows))
    for household in {h for h, _ in rows}:
        candidates = found.lookup(household)
        assert candidates is not None
        expected = sorted(
            ((p, *values) for (h, p), values in rows.items() if h == household),
            key=lambda row: row[0].encode(),
        )
        assert found.product_ids(candidates) == [row[0] for row in expected]
        sources = [found.names.sources[c] for c in candidates.source_codes]
        assert sources == [row[1] for row in expected]
        wanted = np.array(
            [[np.nan if row[2] is None else row[2], row[3]] for row in expected], dtype=np.float32
        )
        np.testing.assert_array_equal(candidates.features, wanted)
        assert candidates.features.flags.c_contiguous


@given(rows=ROWS, stranger=st.one_of(HOUSEHOLDS, st.text(max_size=20)))
def test_a_stranger_finds_nothing(rows: dict, stranger: str) -> None:
    known = {h for h, _ in rows}
    found = snapshot(frame(rows))
    assert (found.lookup(stranger) is not None) == (stranger in known)
    assert found.lookup(min(known) + "0") is None


@given(rows=ROWS, seed=st.integers(0, 2**16))
def test_the_version_depends_on_content_and_not_on_row_order(rows: dict, seed: int) -> None:
    ordered = frame(rows)
    shuffled = ordered.sample(fraction=1.0, shuffle=True, seed=seed)
    assert snapshot(ordered).manifest == snapshot(shuffled).manifest
    changed = ordered.with_columns(pl.col("is_promoted").not_())
    assert snapshot(changed).manifest.version != snapshot(ordered).manifest.version


def test_manifest_and_names_survive_json() -> None:
    products = pl.DataFrame({"product_id": ["p1", "x"], "category": ["FRÜCHTE", None]})
    found = snapshot(frame({("0" * 12, "x"): ("personal", 1.0, True)}), products)
    assert SnapshotManifest.from_json(found.manifest.to_json()) == found.manifest
    assert names_from_json(names_to_json(found.names)) == found.names
    assert found.names.products == ("p1", "p9", "x")
    assert found.names.attributes == {"category": ("FRÜCHTE", None, None)}


def test_popular_products_keep_their_order() -> None:
    found = snapshot(frame({("0" * 12, "x"): ("personal", 1.0, True)}))
    assert found.product_ids(found.popular) == ["p9", "p1"]
    assert np.isnan(found.popular.features[1, 0])


GOOD = frame({("0" * 12, "p1"): ("personal", 1.0, True)})


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (GOOD.drop("spend"), "columns spend are missing"),
        (GOOD.clear(), "candidates: no rows"),
        (pl.concat([GOOD, GOOD]), r"1 row\(s\) repeat a household_id and product_id"),
        (GOOD.with_columns(household_id=pl.lit("1")), r"household_id: 1 value\(s\) are no 12-char"),
        (GOOD.with_columns(household_id=pl.lit("ü" * 6)), "raw ids never enter"),
        (GOOD.with_columns(source=pl.lit(None, pl.String)), r"candidates.source: 1 null"),
        (GOOD.with_columns(product_id=pl.lit(7)), "product_id: expected text, got Int32"),
        (GOOD.with_columns(spend=pl.lit("much")), "spend: features are numbers, got String"),
    ],
)
def test_bad_candidates_are_refused(candidates: pl.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        snapshot(candidates)


def test_products_with_two_versions_are_refused() -> None:
    twice = pl.DataFrame({"product_id": ["p1", "p1"], "category": ["A", "B"]})
    with pytest.raises(ValueError, match=r"products: 1 row\(s\) repeat a product_id"):
        snapshot(GOOD, twice)


def test_a_zoned_time_and_a_foreign_manifest_are_refused() -> None:
    good = snapshot(GOOD)
    with pytest.raises(ValueError, match="naive UTC"):
        snapshot_manifest(
            good.arrays,
            good.names,
            as_of=date(2018, 1, 1),
            known_at=datetime(2018, 1, 1, tzinfo=UTC),
            data_snapshot="42",
            feature_set_hash="abc",
        )
    with pytest.raises(ValueError, match="missing or unknown: as_of"):
        SnapshotManifest.from_json(good.manifest.to_json().replace('"as_of"', '"asof"'))
