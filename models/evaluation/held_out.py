"""Every system's ranking of the held-out weeks, one week at a time.

The scored candidates of eight weeks would not fit in memory beside their features, so each week is
joined, scored, cut to the list that is judged, counted, and let go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from models.evaluation.leakage import LeakageProbe, leakage_probe
from models.evaluation.metrics import PAIR
from models.evaluation.scopes import ALL, Scope
from models.evaluation.sources import candidate_events, sources_of
from models.ranking.dataset import FeatureLists, examples
from models.ranking.newcomer import popular_products
from models.ranking.offers import ranked_offers
from models.ranking.order import OrderBy

# Enough that a scope holds ten of them.
NEWCOMERS_PRODUCTS = 200

Scorer = Callable[[pl.DataFrame], pl.Series]


@dataclass(frozen=True)
class WeeklyInputs:
    """Candidates and features of the held-out weeks, lazily.

    Attributes:
        candidates: ``ranking.candidates``.
        household: Household features.
        product: Product features.
        household_product: Household x product features.
    """

    candidates: pl.LazyFrame
    household: pl.LazyFrame
    product: pl.LazyFrame
    household_product: pl.LazyFrame

    def rows(self, week: date, *, features: FeatureLists) -> pl.DataFrame:
        """Examples of one week, without labels."""

        def of(frame: pl.LazyFrame) -> pl.LazyFrame:
            return frame.filter(pl.col("as_of") == week)

        return examples(
            of(self.candidates),
            household=of(self.household),
            product=of(self.product),
            household_product=of(self.household_product),
            features=features,
        )

    def newcomers(
        self,
        week: date,
        households: pl.DataFrame,
        *,
        popular: tuple[OrderBy, ...],
        features: FeatureLists,
        like: pl.DataFrame,
    ) -> pl.DataFrame:
        """Examples of households without a history: what the service offers them.

        Args:
            week: As-of.
            households: ``household_id``.
            popular: Order of the products they are offered.
            features: As for ``rows``.
            like: From ``rows``: its columns and types.
        """
        of_week = self.candidates.filter(pl.col("as_of") == week)
        known_at = of_week.select("as_of", "known_at").head(1).collect()
        products = popular_products(
            self.product.filter(pl.col("as_of") == week),
            known=known_at.lazy(),
            household=self.household,
            household_product=self.household_product,
            order=popular,
            features=features,
            limit=NEWCOMERS_PRODUCTS,
        )
        rows = households.join(products, how="cross").join(known_at, how="cross")
        return rows.select(like.columns).cast(like.schema)


@dataclass(frozen=True)
class HeldOut:
    """What the learned systems ranked, and what they could choose from.

    Attributes:
        rankings: Scope to system to ``household_id, as_of, product_id, rank``.
        candidates: Scope to its ``candidate_events``.
        sources: Names of the candidate sources.
        served: ``household_id, as_of, product_id, probability`` of the judged model's offers to
            every household; ``None`` if it gives no probabilities.
        leakage: Probes of the judged model on the last week.
    """

    rankings: Mapping[str, Mapping[str, pl.DataFrame]]
    candidates: Mapping[str, pl.DataFrame]
    sources: tuple[str, ...]
    served: pl.DataFrame | None
    leakage: LeakageProbe | None


def rank_held_out(
    inputs: WeeklyInputs,
    purchases: pl.DataFrame,
    *,
    weeks: Sequence[date],
    features: FeatureLists,
    scorers: Mapping[str, Scorer],
    model: str,
    scopes: Sequence[Scope],
    popular: tuple[OrderBy, ...],
    k: int,
    seed: int,
    probabilities: Scorer | None = None,
) -> HeldOut:
    """Score and rank the candidates of each week by each system.

    A household without a history is ranked the popular products, as the service answers it. The
    judged model ranks for every household, the others for those that bought something.

    Args:
        inputs: Candidates and features.
        purchases: ``household_id, as_of, product_id`` of all that was bought in the weeks.
        weeks: As-ofs, ascending.
        features: What the systems may see.
        scorers: System to the function that scores examples.
        model: Which of them is judged.
        scopes: Parts of the range; each is ranked from its own candidates.
        popular: Order of the products for who has no history.
        k: Length of the judged list.
        seed: Of the probes.
        probabilities: Purchase probabilities of examples, if the model gives any.

    Raises:
        ValueError: No week, or the judged model has no scorer.
    """
    if not weeks or model not in scorers:
        raise ValueError(
            f"rank_held_out(): {len(weeks)} week(s), scorers of {sorted(scorers)}, {model!r} is to "
            "be judged; give at least one week and its scorer"
        )
    names = sources_of(inputs.candidates.collect_schema().names())
    ranked: dict[str, dict[str, list[pl.DataFrame]]] = {
        scope.name: {name: [] for name in scorers} for scope in scopes
    }
    counted: dict[str, list[pl.DataFrame]] = {scope.name: [] for scope in scopes}
    served: list[pl.DataFrame] = []
    leakage = None
    for week in weeks:
        rows = inputs.rows(week, features=features)
        bought = purchases.filter(pl.col("as_of") == week)
        unknown = _without_candidates(bought, rows)
        newcomers = inputs.newcomers(week, unknown, popular=popular, features=features, like=rows)
        proposed = inputs.candidates.filter(pl.col("as_of") == week).select(*PAIR, *names.values())
        held = proposed.collect()
        for scope in scopes:
            counted[scope.name].append(
                candidate_events(scope.of(held), scope.of(bought), sources=names)
            )
        # Only the judged model's offers to those who did not shop are looked at.
        shoppers = rows.join(bought.select("household_id"), on="household_id", how="semi")
        for name, scorer in scorers.items():
            seen = rows if name == model else shoppers
            scored = seen.select(*PAIR, "known_at", "source").with_columns(
                scorer(seen).alias("score")
            )
            first = newcomers.select(*PAIR, "known_at", "source").with_columns(
                scorer(newcomers).alias("score")
            )
            for scope in scopes:
                for part in (scored, first):
                    offers = ranked_offers(scope.of(part), k=k, model_version=name)
                    ranked[scope.name][name].append(offers.select(*PAIR, "rank"))
            if name == model and week == weeks[-1]:
                leakage = _probe(rows, scored["score"], bought, features=features, k=k, seed=seed)
        if probabilities is not None:
            # Newcomers are known here because they came: their lists say nothing of a chance.
            offered = ranked[ALL][model][-2].select(*PAIR)
            top = rows.join(offered, on=list(PAIR), how="semi", maintain_order="left")
            served.append(top.select(*PAIR, probabilities(top).alias("probability")))
    return HeldOut(
        rankings={
            scope: {name: pl.concat(parts) for name, parts in systems.items()}
            for scope, systems in ranked.items()
        },
        candidates={scope: pl.concat(parts) for scope, parts in counted.items()},
        sources=tuple(names),
        served=pl.concat(served) if served else None,
        leakage=leakage,
    )


def _without_candidates(bought: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Households of an event that nothing is known of, sorted."""
    return (
        bought.select("household_id")
        .unique()
        .join(rows.select("household_id").unique(), on="household_id", how="anti")
        .sort("household_id")
    )


def _probe(
    rows: pl.DataFrame,
    scores: pl.Series,
    bought: pl.DataFrame,
    *,
    features: FeatureLists,
    k: int,
    seed: int,
) -> LeakageProbe | None:
    labels = bought.select(*PAIR).unique().with_columns(pl.lit(1, pl.Int8).alias("label"))
    labelled = (
        rows.with_columns(scores.alias("probed_score"))
        .join(labels, on=list(PAIR), how="left", maintain_order="left")
        .with_columns(pl.col("label").fill_null(0))
    )
    return leakage_probe(labelled, features=features.names, score="probed_score", k=k, seed=seed)
