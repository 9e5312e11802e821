"""Contracts of ``ranking.*`` and of the ranker's training set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandera.polars as pa
import polars as pl

from checks.contracts.contract import Contract, column
from models.ranking.candidates import NEIGHBOURS_SCORE, SOURCES
from models.ranking.context import CONTEXT
from models.ranking.inputs import FEATURES

RANKING_TEAM = "team:ranking"

# Longest list that is stored; a request may ask for fewer.
MAX_RANK = 100
# Longest list that one source may propose.
MAX_CANDIDATE_RANK = 10_000

# Three reasons of a line each.
MAX_REASON_TEXT = 400

_ID = {"min_value": 1, "max_value": 64}
_PSEUDONYM = {"min_value": 12, "max_value": 12}


class _Pair(pa.DataFrameModel):
    household_id: str = column(
        "Pseudonym of the household", privacy="pseudonymous", str_length=_PSEUDONYM
    )
    product_id: str = column("Product that may be offered", privacy="public", str_length=_ID)
    as_of: pl.Date = column("Monday at whose start we stand", privacy="public")
    known_at: pl.Datetime("us") = column(  # type: ignore[valid-type]
        "When the row could first be used: the start of the as-of week",
        unit="UTC",
        privacy="public",
    )

    @pa.dataframe_check(error="as_of is a Monday")
    def as_of_is_a_monday(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        return data.lazyframe.select(pl.col("as_of").dt.weekday() == 1)


class _Candidates(_Pair):
    """A product that may be offered to a household in a week, its sources and its context."""

    source: str = column(
        "First source, in order of strength, that proposed the pair",
        privacy="internal",
        isin=list(SOURCES),
    )
    score: float = column("Reciprocal rank fusion: sum over sources of 1/(60 + rank)", gt=0.0, le=1)

    @pa.dataframe_check(error="a source proposed the pair")
    def some_source_proposed_it(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        ranks = [pl.col(f"{source}_rank").is_not_null() for source in SOURCES]
        return data.lazyframe.select(pl.any_horizontal(ranks))


# What a source's rank is a place among.
_PLACES = {
    "personal": "the products the household buys most often, what is recent weighing more",
    "coupon": "the products of coupons the household holds",
    "neighbours": "the products that it and households like it buy",
    "promoted": "what its store promotes in the week",
    "store": "the products most households bought of late in its store",
    "substitute": "the most bought products of the types it buys",
    "global": "the products most households bought of late",
}


def _candidates_model() -> type[_Candidates]:
    """The model with a rank per source and the context's columns, in the order they are made."""
    ranks = {
        f"{source}_rank": column(
            f"Place among {_PLACES[source]}",
            nullable=True,
            in_range={"min_value": 1, "max_value": MAX_CANDIDATE_RANK},
        )
        for source in SOURCES
    }
    described = {
        NEIGHBOURS_SCORE: "TIFU-kNN score; null beyond the first places",
        **{name: _context_description(name) for name in CONTEXT},
    }
    numbers = {name: column(text, nullable=True) for name, text in described.items()}
    namespace: dict[str, Any] = {
        "__doc__": _Candidates.__doc__,
        "__module__": __name__,
        "__annotations__": dict.fromkeys(ranks, pl.Int32) | dict.fromkeys(numbers, pl.Float32),
        **ranks,
        **numbers,
    }
    return type("Candidates", (_Candidates,), namespace)


def _context_description(name: str) -> str:
    prefix, rest = name.split("_", maxsplit=1)
    whose = {"hc": "The household and the product's type", "sp": "The household's own store"}
    if prefix == "plan":
        return f"Promotion plan of the week in its own store, or over all stores: {rest}"
    return f"{whose[prefix]}: {rest.replace('_', ' ')}"


Candidates = _candidates_model()


class RankedOffers(_Pair):
    """The offers of a household and week, best first."""

    rank: pl.Int32 = column("Place in the list", in_range={"min_value": 1, "max_value": MAX_RANK})
    score: float = column("Score of the model; comparable within a household and week only")
    source: str = column("Where the candidate came from", isin=list(SOURCES))
    model_version: str = column("Model that gave the score", privacy="public", str_length=_ID)
    probability: float = column(
        "Calibrated probability that the household buys it in the week; null while the model has "
        "no calibrated classifier",
        nullable=True,
        in_range={"min_value": 0, "max_value": 1},
    )
    reasons: str = column(
        "Up to three reasons for the place, the weightiest first, between ' · '; null if nothing "
        "raised the score",
        nullable=True,
        str_length={"min_value": 1, "max_value": MAX_REASON_TEXT},
    )

    @pa.dataframe_check(error="ranks are 1, 2, 3 ... within a household and week")
    def ranks_have_no_gap(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        event = ["as_of", "household_id"]
        place = pl.col("rank").rank("ordinal").over(event)
        return data.lazyframe.select(pl.col("rank").cast(pl.Int64) == place.cast(pl.Int64))

    @pa.dataframe_check(error="scores do not rise with the rank")
    def scores_fall(cls, data: pa.PolarsData) -> pl.LazyFrame:  # noqa: N805
        event = ["as_of", "household_id"]
        ahead = pl.col("score").shift(1).over(event, order_by="rank")
        return data.lazyframe.select((pl.col("score") <= ahead).fill_null(value=True))


class _OfferExample(_Pair):
    source: str = column("Where the candidate came from", isin=list(SOURCES))
    label: pl.Int8 = column(
        "1 if the household bought the product in the as-of week, else 0", isin=[0, 1]
    )


def offer_examples(
    features: Iterable[str], *, descriptions: Mapping[str, str] | None = None
) -> Contract:
    """The contract of a training set with these features.

    Args:
        features: Feature columns as the model names them; each is a nullable Float32.
        descriptions: What features mean, by name; a feature without one is described by its name.

    Returns:
        Contract of ``ranking.offer_examples``, replaced whole, keyed by as-of, household, product.
    """
    known = descriptions or {}
    names = tuple(features)
    namespace: dict[str, Any] = {
        "__doc__": "A candidate, its features as known at the as-of, and whether it was bought.",
        "__module__": __name__,
        "__annotations__": dict.fromkeys(names, pl.Float32),
        **{
            name: column(known.get(name, f"Feature {name.replace('_', ' ')}"), nullable=True)
            for name in names
        },
    }
    model = type("OfferExamples", (_OfferExample,), namespace)
    return Contract(
        "ranking.offer_examples",
        model,
        RANKING_TEAM,
        key=("as_of", "household_id", "product_id"),
        partition_column=None,
    )


CANDIDATES = Contract(
    "ranking.candidates",
    Candidates,
    RANKING_TEAM,
    key=("as_of", "household_id", "product_id"),
    partition_column="as_of",
)
RANKED_OFFERS = Contract(
    "ranking.ranked_offers",
    RankedOffers,
    RANKING_TEAM,
    key=("as_of", "household_id", "product_id"),
    partition_column="as_of",
)
OFFER_EXAMPLES = offer_examples(FEATURES.names)

RANKING = (CANDIDATES, OFFER_EXAMPLES, RANKED_OFFERS)
