"""The product attributes in force at an as-of, from the versions of ``marts.dim_product``."""

from __future__ import annotations

import narwhals as nw

from models.features.as_of import AsOf, utc


def in_force(products: nw.LazyFrame, *, as_of: AsOf) -> nw.LazyFrame:
    """Brand, category and type of the newest version of each product that was known at the as-of.

    A version's ``known_at`` is the end of the week of its drop, so one that equals the as-of is
    known. Products that no drop had named yet are absent.

    Args:
        products: ``marts.dim_product``: ``product_id, brand, category, type, known_at``.
        as_of: Where we stand.

    Returns:
        One row per product: ``product_id, brand, category, type``.
    """
    known = products.filter(nw.col("known_at") <= utc(as_of.instant)).select(
        "product_id", "brand", "category", "type", "known_at"
    )
    newest = known.group_by("product_id").agg(nw.col("known_at").max())
    # The last grouping holds the promise of one row per product whatever the table held.
    return (
        known.join(newest, on=["product_id", "known_at"], how="inner")
        .group_by("product_id")
        .agg(nw.col("brand").max(), nw.col("category").max(), nw.col("type").max())
    )
