"""Why an offer stands where it stands: its score taken apart, and the largest parts in words.

TreeSHAP (Lundberg et al., Nature Machine Intelligence 2020) gives every feature a contribution; the
contributions and the bias sum to the score. Features that say one idea ("habit", "promotion") are
added up, and the ideas that raised the score most become short texts with the row's own values. An
idea that lowered it is no reason. A text says what is true of the row, not that it causes anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.ranking.dataset import KEY
from models.xgboost_booster import feature_names, to_matrix

if TYPE_CHECKING:
    import xgboost as xgb

# More than three are not read.
MAX_REASONS = 3
# Between the reasons of one offer, where they are stored as one text.
SEPARATOR = " · "

# Scores are float32: a smaller contribution may be rounding, and is no reason.
_SMALLEST = 1e-6


def _always(*_: float) -> bool:
    return True


@dataclass(frozen=True)
class Phrase:
    """One way to say an idea.

    Attributes:
        text: With ``{}`` for each used value, in order.
        uses: Features; the phrase is skipped where the model has one not, or its value is missing.
        when: Of the values: whether the phrase is true of them.
        without: Features whose values must be missing for the phrase to be true.
    """

    text: str
    uses: tuple[str, ...] = ()
    when: Callable[..., bool] = _always
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Idea:
    """Features that say one thing, and how to say it.

    Attributes:
        name: For people who read the grouping.
        pattern: Of the names of its features; the first idea that matches has the feature.
        phrases: The first that applies is said.
        otherwise: Said when none applies and no other idea has anything to say; true of any row
            that the idea raised.
    """

    name: str
    pattern: str
    phrases: tuple[Phrase, ...]
    otherwise: str


def _at_least(low: float) -> Callable[..., bool]:
    return lambda value, *_: value >= low


def _between(low: float, high: float) -> Callable[..., bool]:
    return lambda value, *_: low <= value < high


# One of something is said in other words.
_several = _at_least(1.5)


def _in_days(between: float, since: float) -> bool:
    return _several(between) and _several(since)


_EVER = Phrase("Bought in {:.0f} baskets this year", uses=("hp_baskets_364d",), when=_several)
_ONCE = Phrase("Bought once this year", uses=("hp_baskets_364d",), when=_between(0.5, 1.5))

# In order: the first pattern that matches a name has it.
IDEAS = (
    Idea(
        "promotion",
        r"^plan_|^promoted_|display|mailer",
        (
            Phrase("On display in your store this week", ("plan_display",), _at_least(0.5)),
            Phrase("In your store's mailer this week", ("plan_mailer",), _at_least(0.5)),
            Phrase("On display in {:.0f} stores this week", ("plan_display_stores",), _several),
            Phrase("In the mailer of {:.0f} stores this week", ("plan_mailer_stores",), _several),
            Phrase(
                "On display in {:.0f} of the last four weeks in your store",
                ("sp_display_weeks_28d",),
                _at_least(0.5),
            ),
        ),
        "How it is promoted",
    ),
    Idea(
        "coupon",
        r"^coupon_",
        (Phrase("You have a coupon for it", ("coupon_rank",)),),
        "Coupons for it",
    ),
    Idea(
        "neighbours",
        r"knn|als_|_als|^als|neighbour|similar|collaborative|embedding|tifu|up_cf|lookalike",
        (Phrase("Households that shop like you buy it"),),
        "Households that shop like you buy it",
    ),
    Idea(
        "category habit",
        r"^hc_|^ht_|^substitute|category|same_type|type_rank",
        (
            Phrase(
                "This kind is usually bought every {:.0f} days, last {:.0f} days ago",
                ("hc_days_between_purchases", "hc_days_since_last_purchase"),
                _in_days,
            ),
            Phrase("This kind was bought {:.0f} times this year", ("hc_purchases_364d",), _several),
        ),
        "The kinds of product you usually buy",
    ),
    Idea(
        "due-ness",
        r"^hp_.*(interval|between|regularity|due|cadence|overdue|rhythm)|^cadence",
        (
            Phrase(
                "Usually bought every {:.0f} days, last {:.0f} days ago",
                ("hp_days_between_purchases", "hp_days_since_last_purchase"),
                _in_days,
            ),
            _EVER,
            _ONCE,
        ),
        "How regularly you buy it",
    ),
    Idea(
        "recency",
        r"^hp_days_since_last|^hp_.*(recen|last_week|decay)",
        (
            Phrase(
                "Bought within the last day",
                ("hp_days_since_last_purchase",),
                _between(0.0, 1.5),
            ),
            Phrase("Last bought {:.0f} days ago", ("hp_days_since_last_purchase",)),
        ),
        "When you last bought it",
    ),
    Idea(
        "savings",
        r"^(?!hh_).*(discount|coupon|saving)",
        (
            Phrase(
                "Usually bought on offer, {:.0%} below the regular price",
                ("hp_discount_share_364d",),
                _at_least(0.05),
            ),
            Phrase(
                "Sold {:.0%} below its regular price of late",
                ("p_discount_share_91d",),
                _at_least(0.05),
            ),
        ),
        "How often it is on offer",
    ),
    Idea(
        "price",
        r"price",
        (
            Phrase("Last bought at {:.2f} USD", ("hp_last_unit_price",)),
            Phrase("About {:.2f} USD", ("p_unit_price_91d",)),
        ),
        "Its price",
    ),
    Idea(
        "habit",
        r"^hp_|^personal_",
        (
            _EVER,
            _ONCE,
            Phrase("Number {:.0f} of your usual products", ("personal_rank",)),
            Phrase("Something new: not bought this year", without=("hp_baskets_364d",)),
        ),
        "How often you buy it",
    ),
    Idea(
        "loyal buyers",
        r"^p_.*(repeat|loyal)",
        (
            Phrase(
                "{:.0%} of those who buy it buy it again", ("p_repeat_rate_364d",), _at_least(0.2)
            ),
        ),
        "Its buyers and how often they come back",
    ),
    Idea(
        "trend",
        r"^p_.*(trend|momentum|growth)",
        (Phrase("Selling faster of late", ("p_baskets_trend",), _at_least(1.1)),),
        "How its sales develop",
    ),
    Idea(
        "own store",
        r"^sp_|^store_",
        (
            Phrase(
                "Bought by {:,.0f} households in your store in the last four weeks",
                ("sp_households_28d",),
                _several,
            ),
        ),
        "How it sells in your store",
    ),
    Idea(
        "popularity",
        r"^p_|^global_|^popular|^recent_",
        (
            Phrase(
                "Bought by {:,.0f} households in the last four weeks",
                ("p_households_28d",),
                _several,
            ),
            Phrase("Number {:.0f} among everybody's favourites", ("global_rank",)),
        ),
        "How widely it is bought",
    ),
    Idea(
        "household",
        r"^hh_",
        (
            Phrase(
                "You shopped {:.0f} times in the last four weeks",
                ("hh_baskets_28d",),
                _several,
            ),
        ),
        "How you shop",
    ),
    Idea(
        "season",
        r"week_of|month|season|calendar|holiday|year_|day_of|^cal_|^w_",
        (),
        "The time of year",
    ),
    Idea(
        "standing",
        r"score$|_rank$|^sources?$|^proposed|^n_sources",
        (
            Phrase("Number {:.0f} of your usual products", ("personal_rank",)),
            Phrase("Number {:.0f} among everybody's favourites", ("global_rank",)),
        ),
        "Proposed from several sides",
    ),
)
OTHER = Idea("other", r".*", (), "Fits what you buy")


def idea_of(feature: str) -> Idea:
    """The idea that a feature says; ``OTHER`` if no pattern has it."""
    for idea in IDEAS:
        if re.search(idea.pattern, feature):
            return idea
    return OTHER


@dataclass(frozen=True)
class Grouping:
    """The ideas of one model's features.

    Attributes:
        ideas: Those that some feature says.
        members: (F, G) 1.0 where feature and idea belong together, one per row.
        phrases: Per idea its phrases with the columns they use.
    """

    ideas: tuple[Idea, ...]
    members: np.ndarray
    phrases: tuple[tuple[_Placed, ...], ...]


@dataclass(frozen=True)
class _Placed:
    """A phrase with the columns it looks at."""

    phrase: Phrase
    used: tuple[int, ...]
    missing: tuple[int, ...]


@lru_cache(maxsize=8)
def grouping(features: tuple[str, ...]) -> Grouping:
    """Group a model's features by idea.

    Args:
        features: Their names, in the model's order.
    """
    place = {name: i for i, name in enumerate(features)}
    found = [idea_of(name) for name in features]
    ideas = tuple(idea for idea in (*IDEAS, OTHER) if idea in found)
    members = np.zeros((len(features), len(ideas)), dtype=np.float64)
    for row, idea in enumerate(found):
        members[row, ideas.index(idea)] = 1.0
    phrases = tuple(
        tuple(
            _Placed(
                phrase=phrase,
                used=tuple(place[name] for name in phrase.uses),
                missing=tuple(place[name] for name in phrase.without),
            )
            for phrase in idea.phrases
            if all(name in place for name in (*phrase.uses, *phrase.without))
        )
        for idea in ideas
    )
    return Grouping(ideas=ideas, members=members, phrases=phrases)


def contributions(booster: xgb.Booster, matrix: np.ndarray) -> np.ndarray:
    """What each feature adds to each row's score.

    Args:
        booster: The ranker; what its score is for a ranking, log-odds for a classifier.
        matrix: (n, F) float32, features in the model's order; NaN is missing.

    Returns:
        (n, F + 1) float32; the last column is the bias. Every row sums to its score.
    """
    import xgboost as xgb

    if not len(matrix):
        return np.zeros((0, matrix.shape[1] + 1), dtype=np.float32)
    data = xgb.DMatrix(matrix, feature_names=booster.feature_names, nthread=1)
    return booster.predict(data, pred_contribs=True, validate_features=False)


def by_idea(contribution: np.ndarray, groups: Grouping) -> np.ndarray:
    """Contributions added up by idea.

    Args:
        contribution: (n, F + 1) of ``contributions``.
        groups: Of the same features.

    Returns:
        (n, G + 1) float64; the last column is the bias. Every row sums to its score.
    """
    exact = contribution.astype(np.float64)
    return np.column_stack([exact[:, :-1] @ groups.members, exact[:, -1]])


def reasons(
    booster: xgb.Booster,
    matrix: np.ndarray,
    *,
    features: Sequence[str],
    limit: int = MAX_REASONS,
) -> list[list[str]]:
    """Up to ``limit`` short reasons for each row, the weightiest first.

    Args:
        booster: The ranker.
        matrix: As for ``contributions``; only these values are looked at.
        features: Names of its columns.
        limit: Reasons per row. A row has fewer where fewer ideas raised its score.

    Returns:
        One list per row; no text twice in a row. Ideas whose phrases are not true of the row are
        passed over, unless there are no others.
    """
    groups = grouping(tuple(features))
    amounts = by_idea(contributions(booster, matrix), groups)[:, :-1]
    # Equal contributions keep the order of the ideas.
    order = np.argsort(-amounts, axis=1, kind="stable").tolist()
    raised = (amounts > _SMALLEST).tolist()
    return [
        _row(groups, values, places, positive, limit=limit)
        for values, places, positive in zip(matrix.tolist(), order, raised, strict=True)
    ]


def _row(
    groups: Grouping, values: list[float], places: list[int], positive: list[bool], *, limit: int
) -> list[str]:
    said: list[str] = []
    raised = [place for place in places if positive[place]]
    for place in raised:
        text = _text(groups, place, values)
        if text is not None and text not in said:
            said.append(text)
            if len(said) == limit:
                break
    # A vague reason is better than none, and worse than a lighter one that tells something.
    return said or [groups.ideas[place].otherwise for place in raised[:1]]


def _text(groups: Grouping, place: int, values: list[float]) -> str | None:
    for placed in groups.phrases[place]:
        used = [values[i] for i in placed.used]
        if any(map(math.isnan, used)) or not all(math.isnan(values[i]) for i in placed.missing):
            continue
        if placed.phrase.when(*used):
            return placed.phrase.text.format(*used)
    return None


def explained(
    offers: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    booster: xgb.Booster,
    probability: Callable[[pl.DataFrame], pl.Series] | None = None,
) -> pl.DataFrame:
    """Ranked offers with their reasons and, if they can be told, their probabilities.

    Args:
        offers: From ``offers.ranked_offers``.
        examples: The candidates with their features, from ``dataset.examples``.
        booster: The model that ranked them.
        probability: From examples to calibrated probabilities; ``None`` if there is no classifier.

    Returns:
        ``offers`` in its own order, with ``probability`` (Float64, null without a classifier) and
        ``reasons`` (one text, ``SEPARATOR`` between reasons; null if nothing raised the score).

    Raises:
        ValueError: An offer is not among the examples.
    """
    names = feature_names(booster)
    rows = offers.select(*KEY).join(examples, on=list(KEY), how="inner", maintain_order="left")
    if rows.height != offers.height:
        raise ValueError(
            f"explained(): {offers.height:,} offers, of which {rows.height:,} have features; pass "
            "the examples that were ranked"
        )
    said = [
        SEPARATOR.join(texts) or None
        for texts in reasons(booster, to_matrix(rows, names), features=names)
    ]
    told = probability(rows) if probability else pl.Series([None] * rows.height)
    return offers.with_columns(
        told.cast(pl.Float64).alias("probability"), pl.Series("reasons", said, dtype=pl.String)
    )
