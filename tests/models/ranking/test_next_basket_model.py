from __future__ import annotations

import polars as pl
import pytest

from models.evaluation.metrics import mean_metrics, per_event
from models.ranking.next_basket import LAST_BASKET, Split, calendar, last_basket, next_basket_data
from models.ranking.next_basket_model import (
    TIFU_SETTINGS,
    UPCF_SETTINGS,
    Outcome,
    choose_neighbours,
    rank_all,
)
from tests.models.ranking.next_baskets import ordered, shop

SYSTEMS = {
    "xgboost",
    "lightgbm",
    "neural",
    "g_topfreq",
    "p_topfreq",
    "gp_topfreq",
    "decayed_topfreq",
    "tifu_knn",
    "up_cf",
    "als",
    "repeat_cadence",
}


@pytest.fixture(scope="module")
def split() -> Split:
    return last_basket(next_basket_data(shop()))


@pytest.fixture(scope="module")
def outcome(split: Split) -> Outcome:
    return rank_all(split, k=5, seed=1)


def ndcg(split: Split, outcome: Outcome, name: str) -> float:
    return mean_metrics(per_event(outcome.rankings[name], split.test.purchases, k=5), k=5)["ndcg@5"]


@pytest.mark.slow
def test_every_system_ranks_every_event(split: Split, outcome: Outcome) -> None:
    assert set(outcome.rankings) == SYSTEMS
    for ranking in outcome.rankings.values():
        assert ranking["household_id"].n_unique() == split.test.events.height
        assert ranking["rank"].max() == 5


@pytest.mark.slow
def test_the_learned_ranker_finds_the_cycles(split: Split, outcome: Outcome) -> None:
    assert ndcg(split, outcome, "xgboost") > 1.1 * ndcg(split, outcome, "gp_topfreq")


@pytest.mark.slow
def test_the_same_again(split: Split, outcome: Outcome) -> None:
    again = rank_all(split, k=5, seed=1)
    for name, ranking in outcome.rankings.items():
        assert again.rankings[name].equals(ranking), name


@pytest.mark.slow
@pytest.mark.parametrize("make", [calendar, LAST_BASKET])
def test_the_other_kinds_of_split(make) -> None:
    frame = ordered(shop(households=12)) if make == LAST_BASKET else shop(households=12)
    held_out = (last_basket if make == LAST_BASKET else make)(next_basket_data(frame))
    found = rank_all(held_out, k=3, seed=1)
    assert set(found.rankings) == SYSTEMS
    assert 0 < found.candidate_recall <= 1


def test_settings_are_the_best_on_an_origin_to_learn_from(split: Split) -> None:
    found = choose_neighbours(split.train[-1], k=5)
    assert found.tifu in TIFU_SETTINGS
    assert found.upcf in UPCF_SETTINGS


@pytest.mark.slow
def test_candidates_that_nobody_bought_are_nothing_to_learn_from() -> None:
    # Every basket holds a product that was never sold before.
    frame = pl.DataFrame(
        {
            "household_id": [f"h{i % 6}" for i in range(36)],
            "basket_id": [f"b{i}" for i in range(36)],
            "order": list(range(36)),
            "product_id": [f"p{i:02}" for i in range(36)],
        }
    )
    with pytest.raises(ValueError, match="nothing to learn from"):
        rank_all(last_basket(next_basket_data(frame)), k=3, seed=1)
