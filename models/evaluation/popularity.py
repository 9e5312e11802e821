"""What kind of products a ranking offers: popular or rare, varied or alike, known or new.

A ranking can win on purchases and still show everybody the same few products.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from models.evaluation.metrics import EVENT, PAIR

# The row of what was really bought, beside the systems.
PURCHASES = "purchases"

_SCHEMA = {
    "system": pl.String,
    "mean_percentile": pl.Float64,
    "coverage": pl.Float64,
    "category_diversity": pl.Float64,
    "type_diversity": pl.Float64,
    "novelty_bits": pl.Float64,
    "new_share": pl.Float64,
}


def popularity_table(
    rankings: Mapping[str, pl.DataFrame],
    purchases: pl.DataFrame,
    *,
    past: pl.DataFrame,
    products: pl.DataFrame,
    k: int,
) -> pl.DataFrame:
    """Popularity bias, coverage, diversity and novelty of each system's offers.

    Args:
        rankings: System to ``household_id, as_of, product_id, rank``.
        purchases: ``household_id, as_of, product_id`` of all that was bought.
        past: ``household_id, product_id``, unique, of all that was bought before the first judged
            week: the catalogue, and what is popular in it.
        products: ``product_id, category, type``, unique by product.
        k: Length of the judged list.

    Returns:
        One row per system, and one named ``purchases``: ``mean_percentile`` (of the products by
        households that bought them before, 1 the most popular; 0 where nobody had), ``coverage``
        (offered products over all sold before), ``category_diversity`` and ``type_diversity``
        (distinct ones over products in a list, mean over lists), ``novelty_bits`` (mean -log2 of
        the share of households that had bought the product, one household where none had; Zhou
        et al., PNAS 2010), ``new_share`` (of offers that the household had not bought before).
        Diversity of ``purchases`` is null: its lists have other lengths.
    """
    known = _known(past, products)
    households = max(past["household_id"].n_unique(), 1)
    catalogue = max(known.filter(pl.col("buyers") > 0).height, 1)
    # Some systems rank for more households than shopped; all are judged on the same lists.
    events = purchases.select(*EVENT).unique()
    listed = {
        name: ranking.filter(pl.col("rank") <= k)
        .select(*PAIR)
        .join(events, on=list(EVENT), how="semi")
        for name, ranking in rankings.items()
    }
    rows = [
        _row(name, frame, known=known, past=past, households=households, catalogue=catalogue)
        for name, frame in {**listed, PURCHASES: purchases.select(*PAIR).unique()}.items()
        if not frame.is_empty()
    ]
    table = pl.DataFrame(rows, schema=_SCHEMA)
    return table.with_columns(
        pl.when(pl.col("system") != PURCHASES).then(pl.col(name)).alias(name)
        for name in ("category_diversity", "type_diversity")
    )


def _known(past: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    buyers = past.group_by("product_id").agg(pl.len().alias("buyers"))
    ranked = buyers.with_columns((pl.col("buyers").rank("average") / pl.len()).alias("percentile"))
    return (
        products.select("product_id", "category", "type")
        .join(ranked, on="product_id", how="full", coalesce=True)
        .with_columns(pl.col("buyers").fill_null(0), pl.col("percentile").fill_null(0.0))
    )


def _row(
    name: str,
    listed: pl.DataFrame,
    *,
    known: pl.DataFrame,
    past: pl.DataFrame,
    households: int,
    catalogue: int,
) -> dict[str, float | str]:
    told = (
        listed.join(known, on="product_id", how="left")
        .with_columns(pl.col("buyers").fill_null(0), pl.col("percentile").fill_null(0.0))
        .join(
            past.select("household_id", "product_id", pl.lit(value=True).alias("bought_before")),
            on=["household_id", "product_id"],
            how="left",
        )
        .sort("as_of", "household_id", "product_id")
    )
    share = pl.max_horizontal(pl.col("buyers"), pl.lit(1)) / households
    lists = (
        told.group_by(*EVENT, maintain_order=True)
        .agg(
            (pl.col("category").n_unique() / pl.len()).alias("category"),
            (pl.struct("category", "type").n_unique() / pl.len()).alias("type"),
        )
        .select(pl.col("category", "type").mean())
        .row(0)
    )
    means = told.select(
        pl.col("percentile").mean(),
        (-share.log(2.0)).mean().alias("novelty"),
        pl.col("bought_before").is_null().mean().alias("new"),
    ).row(0, named=True)
    return {
        "system": name,
        "mean_percentile": means["percentile"],
        "coverage": told.filter(pl.col("buyers") > 0)["product_id"].n_unique() / catalogue,
        "category_diversity": lists[0],
        "type_diversity": lists[1],
        "novelty_bits": means["novelty"],
        "new_share": means["new"],
    }
