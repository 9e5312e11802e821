"""The response head: will a household buy a campaign's coupon product soon after the start?

An event is a household targeted by a campaign; its pairs are the campaign's coupon products. The
target is a purchase within 5 and within 28 days of the start, coupon or not. It is a *response*, a
predicted purchase; what the campaign caused is *lift* and is measured elsewhere.

Pairs are many (40 million in one campaign of the real year) and mostly hopeless. Rows are made of
the *shortlist*: what the household bought in the last year, and the campaign's most widely bought
products. It is chosen without looking at the outcome, so probabilities need no weights and hold for
every shortlisted pair. A response outside it is kept as a row that is never learned from or ranked:
what the shortlist misses is counted, not forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from models.features.as_of import AsOf, resolve
from models.ranking.calibration import MIN_PURCHASES, Calibration, fit_calibration
from models.ranking.dataset import refuse_demographics
from models.ranking.order import OrderBy, top
from models.ranking.sampling import uniform
from models.ranking.xgboost_ranker import MAX_BIN
from models.xgboost_booster import load, to_matrix

# A week's shopping without the weekend after it, and four weeks: most campaigns run for five.
SHORT_DAYS, LONG_DAYS = 5, 28
WINDOWS = (SHORT_DAYS, LONG_DAYS)

KEY = ("campaign_id", "household_id", "product_id")
SHORTLISTED = "shortlisted"

# A pair without a history beyond these is bought once in some thousand times.
POPULAR_LIMIT = 50

# Shown at a time, and what probabilities are mapped on.
K = 10

# Both windows share the trees learned from the longer one: with five times the responses they order
# the shorter window's better than trees of its own (campaigns that started before November).
LEARNED_DAYS = LONG_DAYS

# Codes, so that a new type is unknown and not another type.
CAMPAIGN_TYPES = ("Type A", "Type B", "Type C")

# A habit over one interval late lives on with this chance per further interval. Best of .3, .5, .7,
# .8, .9 and 1 on campaigns that started before November: the heuristic is not made easy to beat.
LAPSE_BASE = 0.8

HOUSEHOLD_FEATURES = (
    "baskets_28d",
    "lines_28d",
    "spend_91d",
    "products_91d",
    "days_since_last_basket",
    "days_since_first_basket",
    "discount_share_91d",
    "coupon_share_91d",
)
PRODUCT_FEATURES = (
    "households_28d",
    "households_364d",
    "unit_price_91d",
    "discount_share_91d",
    "repeat_rate_364d",
    "baskets_trend",
)
PAIR_FEATURES = (
    "baskets_28d",
    "baskets_91d",
    "baskets_364d",
    "units_364d",
    "days_since_last_purchase",
    "days_between_purchases",
    "recency_over_interval",
    "basket_share_364d",
    "last_unit_price",
    "discount_share_364d",
)
OWN_FEATURES = (
    "c_type",
    "c_days",
    "c_products",
    "c_products_of_coupon",
    "hr_redemptions",
    "hr_campaigns",
    "ht_baskets_364d",
    "ht_products_364d",
    "ht_days_since_last_purchase",
    "hk_baskets_364d",
    "hk_products_364d",
    "hk_days_since_last_purchase",
    "p_reach_28d",
    "p_price_over_type",
    "cadence_28d",
)
FEATURES = (
    *OWN_FEATURES,
    *(f"hh_{name}" for name in HOUSEHOLD_FEATURES),
    *(f"p_{name}" for name in PRODUCT_FEATURES),
    *(f"hp_{name}" for name in PAIR_FEATURES),
)

FIXED_PARAMS: Mapping[str, Any] = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_bin": MAX_BIN,
    # The heuristic is where the trees start from.
    "base_score": 0.5,
    "verbosity": 1,
}
# Shallow and strongly smoothed: campaigns are few, and the next one differs from all before.
DEFAULT_PARAMS: Mapping[str, Any] = {
    "eta": 0.05,
    "max_depth": 4,
    "min_child_weight": 20.0,
    "reg_lambda": 10.0,
    "colsample_bytree": 0.7,
}
DEFAULT_ROUNDS = 120
# Pairs without a response kept for each with one: half the time, and the lists are no worse.
ZEROS_PER_RESPONSE = 4.0
_WEIGHT = "weight"

# Log-odds beyond these are beyond any rate that campaigns can show.
_SMALLEST = 1e-6


def label(days: int) -> str:
    """Column of the response within ``days`` of the start."""
    return f"response_{days}d"


def known_at(days: int) -> str:
    """Column of the instant from which that label may be used."""
    return f"response_{days}d_known_at"


@dataclass(frozen=True)
class Start:
    """When a campaign starts, and when its labels may be used.

    Attributes:
        at: Midnight of the first day; ``at.week`` is the as-of week, whose features hold only what
            came before its Monday.
        known: Window in days to the instant at which it has closed and late sales had their time.
    """

    at: AsOf
    known: Mapping[int, datetime]

    @classmethod
    def of(cls, start_date: date, *, time_zone: str, late_arrival_days: int) -> Start:
        midnight = datetime.combine(start_date, time.min, tzinfo=ZoneInfo(time_zone))
        (at,) = resolve([midnight], time_zone=time_zone)
        return cls(at=at, known={d: at.shifted(d + late_arrival_days) for d in WINDOWS})


@dataclass(frozen=True)
class ResponseInputs:
    """The frames that examples are made of, as the marts and feature sets hold them.

    Attributes:
        campaigns: ``campaign_id, campaign_type, start_date, end_date, known_at``.
        targets: ``campaign_id, household_id, known_at``.
        coupons: ``campaign_id, coupon_id, product_id, known_at``.
        redemptions: ``household_id, campaign_id, coupon_id, known_at``.
        products: ``product_id, type, week_start``, one row per version.
        household: Household features by ``household_id, as_of``.
        product: Product features by ``product_id, as_of``.
        household_product: Pair features by ``household_id, product_id, as_of``.
        lines: ``household_id, product_id, sold_at``.
    """

    campaigns: pl.LazyFrame
    targets: pl.LazyFrame
    coupons: pl.LazyFrame
    redemptions: pl.LazyFrame
    products: pl.LazyFrame
    household: pl.LazyFrame
    product: pl.LazyFrame
    household_product: pl.LazyFrame
    lines: pl.LazyFrame


def examples(
    inputs: ResponseInputs,
    *,
    first_as_of: date,
    cut: datetime,
    time_zone: str,
    late_arrival_days: int,
    popular_limit: int = POPULAR_LIMIT,
) -> pl.DataFrame:
    """Labelled pairs of every campaign whose shorter window is mature at the cut.

    A campaign, its targets and coupons count only if they were known when it started, and so do
    redemptions; features are those of the as-of week that holds the start, so nothing of that week
    is in them. A campaign that starts before ``first_as_of`` has no features and is left out, and a
    target without a basket before the as-of week has no household features (null).

    Args:
        inputs: What examples are made of.
        first_as_of: First as-of week with features.
        cut: Naive UTC; no label that became known after it is used.
        time_zone: IANA name of the business time zone.
        late_arrival_days: Days that late sales are waited for after a window.
        popular_limit: Coupon products per campaign that are shortlisted for all its targets.

    Returns:
        ``campaign_id, household_id, product_id, as_of, started_at`` (naive UTC), ``known_at`` (of
        the features), ``shortlisted``, ``response_5d, response_28d`` (Int8; null while not mature)
        with their ``_known_at``, and ``FEATURES`` as Float32; of pairs outside the shortlist only
        those with a response. Sorted by start, campaign, household and product.

    Raises:
        ValueError: A feature is named after a demographic.
    """
    refuse_demographics(FEATURES)
    campaigns = inputs.campaigns.sort("start_date", "campaign_id").collect()
    made = []
    for campaign in campaigns.iter_rows(named=True):
        start = Start.of(
            campaign["start_date"], time_zone=time_zone, late_arrival_days=late_arrival_days
        )
        mature = start.known[SHORT_DAYS] <= cut
        if start.at.week < first_as_of or not mature or campaign["known_at"] > start.at.instant:
            continue
        of_campaign = _of_campaign(inputs, campaign, start)
        if of_campaign.targets.is_empty() or of_campaign.coupons.is_empty():
            continue
        pairs = _pairs(of_campaign, cut=cut, popular_limit=popular_limit)
        made.append(_with_features(pairs, of_campaign))
    return pl.concat([pl.DataFrame(schema=SCHEMA), *made])


SCHEMA: Mapping[str, Any] = {
    **dict.fromkeys(KEY, pl.String),
    "as_of": pl.Date,
    "started_at": pl.Datetime("us"),
    "known_at": pl.Datetime("us"),
    SHORTLISTED: pl.Boolean,
    **{label(days): pl.Int8 for days in WINDOWS},
    **{known_at(days): pl.Datetime("us") for days in WINDOWS},
    **dict.fromkeys(FEATURES, pl.Float32),
}


@dataclass(frozen=True)
class _OfCampaign:
    """What was known of one campaign as it started, and the purchases in its longer window."""

    campaign: Mapping[str, Any]
    start: Start
    targets: pl.DataFrame
    coupons: pl.DataFrame
    histories: pl.DataFrame
    household: pl.DataFrame
    product: pl.DataFrame
    bought: pl.DataFrame

    @property
    def products(self) -> pl.DataFrame:
        return self.coupons.select("product_id").unique().sort("product_id")


def _of_campaign(inputs: ResponseInputs, campaign: Mapping[str, Any], start: Start) -> _OfCampaign:
    known = pl.col("known_at") <= start.at.instant
    own = known & (pl.col("campaign_id") == campaign["campaign_id"])
    as_of = pl.col("as_of") == start.at.week
    targets = (
        inputs.targets.filter(own).select("household_id").unique().sort("household_id").collect()
    )
    coupons = inputs.coupons.filter(own).select("coupon_id", "product_id").unique().collect()
    typed = _types(inputs.products, before=start.at.week)
    households = targets.lazy()
    histories = (
        inputs.household_product.filter(as_of)
        .join(households, on="household_id", how="semi")
        .select("household_id", "product_id", *PAIR_FEATURES)
        .join(typed, on="product_id", how="left")
        .collect()
    )
    household = (
        inputs.household.filter(as_of)
        .select("household_id", *HOUSEHOLD_FEATURES, pl.len().alias("panel"))
        .join(households, on="household_id", how="semi")
        .join(
            _past_campaigns(inputs, known=known, campaign=campaign), on="household_id", how="left"
        )
        .collect()
    )
    product = (
        inputs.product.filter(as_of)
        .select("product_id", *PRODUCT_FEATURES)
        .join(typed, on="product_id", how="left")
        .with_columns(_over_type("unit_price_91d").alias("price_over_type"))
        .join(coupons.lazy().select("product_id").unique(), on="product_id", how="right")
        .collect()
    )
    first, last = start.at.instant, start.at.shifted(LONG_DAYS)
    bought = (
        inputs.lines.filter(pl.col("sold_at").is_between(first, last, closed="left"))
        .join(households, on="household_id", how="semi")
        .join(coupons.lazy(), on="product_id", how="semi")
        .group_by("household_id", "product_id")
        .agg(pl.col("sold_at").min().alias("first_sold_at"))
        .collect()
    )
    return _OfCampaign(
        campaign=campaign,
        start=start,
        targets=targets,
        coupons=coupons,
        histories=histories,
        household=household,
        product=product,
        bought=bought,
    )


def _types(products: pl.LazyFrame, *, before: date) -> pl.LazyFrame:
    """Each product's type as stated before a week."""
    return (
        products.filter(pl.col("week_start") < before)
        .group_by("product_id")
        .agg(pl.col("type").sort_by("week_start").last())
    )


def _over_type(price: str) -> pl.Expr:
    # Sorted, because a mean of floats depends on the order of its terms.
    return pl.col(price) / pl.col(price).sort().mean().over("type")


def _past_campaigns(
    inputs: ResponseInputs, *, known: pl.Expr, campaign: Mapping[str, Any]
) -> pl.LazyFrame:
    """Coupons redeemed and campaigns received by a household before this one."""
    redeemed = (
        inputs.redemptions.filter(known).group_by("household_id").agg(pl.len().alias("redemptions"))
    )
    earlier = inputs.campaigns.filter(pl.col("start_date") < campaign["start_date"])
    received = (
        inputs.targets.filter(known)
        .join(earlier, on="campaign_id", how="semi")
        .group_by("household_id")
        .agg(pl.col("campaign_id").n_unique().alias("campaigns"))
    )
    return received.join(redeemed, on="household_id", how="full", coalesce=True)


def _pairs(of: _OfCampaign, *, cut: datetime, popular_limit: int) -> pl.DataFrame:
    """The rows of a campaign, with labels."""
    pair = ["household_id", "product_id"]
    popular = top(
        of.product.lazy()
        .filter(pl.col("households_28d") > 0)
        .select("product_id", "households_28d", pl.lit(0).alias("all")),
        group=("all",),
        order=(OrderBy("households_28d"),),
        limit=popular_limit,
        keep=("product_id",),
    ).select("product_id")
    own = of.histories.lazy().join(of.products.lazy(), on="product_id", how="semi").select(pair)
    shortlist = (
        pl.concat([own, of.targets.lazy().join(popular, how="cross").select(pair)])
        .unique()
        .with_columns(pl.lit(value=True).alias(SHORTLISTED))
        .collect()
    )
    mature = [days for days in WINDOWS if of.start.known[days] <= cut]
    labels = of.bought.select(
        *pair,
        *(
            (pl.col("first_sold_at") < of.start.at.shifted(days)).cast(pl.Int8).alias(label(days))
            for days in mature
        ),
    ).filter(pl.max_horizontal(label(days) for days in mature) > 0)
    return (
        shortlist.join(labels, on=pair, how="full", coalesce=True)
        .with_columns(
            pl.col(SHORTLISTED).fill_null(value=False),
            *(
                pl.col(label(days)).fill_null(0)
                if days in mature
                else pl.lit(None, pl.Int8).alias(label(days))
                for days in WINDOWS
            ),
        )
        .sort(pair)
    )


def _with_features(pairs: pl.DataFrame, of: _OfCampaign) -> pl.DataFrame:
    rows = pairs.height
    panel = of.household["panel"].max() if of.household.height else None
    coupons = (
        of.coupons.lazy()
        .with_columns(pl.len().over("coupon_id").alias("c_products_of_coupon"))
        # A product may be on several coupons; the narrowest is the most about it.
        .sort("c_products_of_coupon", "coupon_id")
        .unique("product_id", keep="first", maintain_order=True)
    )
    by_type = (
        of.histories.filter(pl.col("type").is_not_null())
        .group_by("household_id", "type")
        .agg(
            pl.col("baskets_364d").sum().alias("ht_baskets_364d"),
            pl.len().alias("ht_products_364d"),
            pl.col("days_since_last_purchase").min().alias("ht_days_since_last_purchase"),
        )
    )
    by_coupon = (
        of.histories.lazy()
        .join(coupons, on="product_id", how="inner")
        .group_by("household_id", "coupon_id")
        .agg(
            pl.col("baskets_364d").sum().alias("hk_baskets_364d"),
            pl.len().alias("hk_products_364d"),
            pl.col("days_since_last_purchase").min().alias("hk_days_since_last_purchase"),
        )
    )
    joined = (
        pairs.lazy()
        .join(
            of.household.lazy().drop("panel").rename(_prefixed("hh_")),
            on="household_id",
            how="left",
        )
        .join(
            of.product.lazy().rename(_prefixed("p_", keep=("product_id", "type"))),
            on="product_id",
            how="left",
        )
        .join(
            of.histories.lazy()
            .drop("type")
            .rename(_prefixed("hp_", keep=("household_id", "product_id"))),
            on=["household_id", "product_id"],
            how="left",
        )
        .join(by_type.lazy(), on=["household_id", "type"], how="left")
        .join(coupons, on="product_id", how="left")
        .join(by_coupon, on=["household_id", "coupon_id"], how="left")
    )
    code = {name: float(place) for place, name in enumerate(CAMPAIGN_TYPES)}
    days = (of.campaign["end_date"] - of.campaign["start_date"]).days + 1
    features = joined.with_columns(
        pl.lit(code.get(of.campaign["campaign_type"]), pl.Float32).alias("c_type"),
        pl.lit(days).alias("c_days"),
        pl.lit(of.products.height).alias("c_products"),
        pl.col("hh_redemptions").fill_null(0).alias("hr_redemptions"),
        pl.col("hh_campaigns").fill_null(0).alias("hr_campaigns"),
        pl.col(
            "ht_baskets_364d", "ht_products_364d", "hk_baskets_364d", "hk_products_364d"
        ).fill_null(0),
        (pl.col("p_households_28d").fill_null(0) / pl.lit(panel, pl.Float64)).alias("p_reach_28d"),
    ).with_columns(repeat_cadence(days=LONG_DAYS).alias("cadence_28d"))
    finished = features.select(
        pl.lit(of.campaign["campaign_id"]).alias("campaign_id"),
        "household_id",
        "product_id",
        pl.lit(of.start.at.week).alias("as_of"),
        pl.lit(of.start.at.instant).alias("started_at"),
        pl.lit(of.start.at.instant).alias("known_at"),
        SHORTLISTED,
        *(label(d) for d in WINDOWS),
        *(pl.lit(of.start.known[d]).alias(known_at(d)) for d in WINDOWS),
        *FEATURES,
    ).cast(pl.Schema(SCHEMA))
    frame = finished.sort(*KEY).collect()
    if frame.height != rows:
        raise ValueError(
            f"campaign {of.campaign['campaign_id']}: {rows:,} pairs became {frame.height:,} rows; "
            "a feature frame has two rows for one key. Remove the duplicates at their source"
        )
    return frame


class _prefixed:  # noqa: N801 - read as a function
    def __init__(self, prefix: str, *, keep: Sequence[str] = ("household_id",)) -> None:
        self.prefix, self.keep = prefix, keep

    def __call__(self, name: str) -> str:
        return name if name in self.keep else f"{self.prefix}{name}"


def repeat_cadence(*, days: int) -> pl.Expr:
    """The heuristic to beat: at least one purchase in ``days``, at the household's own rate.

    ``1 - exp(-rate * days)``, a Poisson process. The rate is the household's baskets with the
    product per day since its first basket of the year, halved for every interval that the product
    is overdue beyond one (a habit that is late may be over). Where the household never bought it,
    the rate at which everybody does: the share of the panel that bought it in the last 28 days.

    Args:
        days: Length of the window.

    Returns:
        Expression over ``FEATURES``, a probability in 0..1.
    """
    observed = pl.col("hh_days_since_first_basket").clip(lower_bound=float(LONG_DAYS))
    late = (pl.col("hp_recency_over_interval").fill_null(1.0) - 1.0).clip(lower_bound=0.0)
    own = pl.col("hp_baskets_364d") / observed * pl.lit(LAPSE_BASE).pow(late)
    everybody = pl.col("p_reach_28d").fill_null(0.0) / LONG_DAYS
    rate = pl.coalesce(own, everybody)
    return 1.0 - (-rate * days).exp()


def train(
    rows: pl.DataFrame,
    *,
    seed: int,
    params: Mapping[str, Any] = DEFAULT_PARAMS,
    rounds: int = DEFAULT_ROUNDS,
    threads: int | None = None,
) -> bytes:
    """XGBoost ``binary:logistic`` that corrects the log-odds of the heuristic.

    The trees start from ``repeat_cadence`` and learn what it misses, so with nothing to learn the
    model is the heuristic. The bytes do not depend on the number of threads.

    Args:
        rows: From ``examples``; only shortlisted rows whose label is known are used.
        seed: Of column sampling.
        params: XGBoost parameters beside the fixed ones.
        rounds: Number of trees.
        threads: Threads to use; all by default.

    Returns:
        The booster as UBJSON; ``log_odds`` reads it.

    Raises:
        ValueError: No row has a response, or all have; or ``params`` would override a fixed one.
    """
    fixed = sorted(set(params) & {*FIXED_PARAMS, "seed", "nthread"})
    if fixed:
        raise ValueError(f"train(): {fixed} are fixed for this model; remove them")
    target = label(LEARNED_DAYS)
    known = rows.filter(pl.col(SHORTLISTED) & pl.col(target).is_not_null())
    positives = int(known[target].sum())
    if not 0 < positives < known.height:
        raise ValueError(
            f"response within {LEARNED_DAYS} days: {positives:,} of {known.height:,} pairs "
            "responded; both outcomes are needed to learn from. Wait for more campaigns to mature"
        )
    import xgboost as xgb

    ordered = _thinned(known.sort("started_at", *KEY), target=target, seed=seed)
    matrix = xgb.QuantileDMatrix(
        to_matrix(ordered, FEATURES),
        label=ordered[target].to_numpy(),
        weight=ordered[_WEIGHT].to_numpy(),
        base_margin=_heuristic_log_odds(ordered, days=LEARNED_DAYS),
        feature_names=list(FEATURES),
        max_bin=MAX_BIN,
        nthread=threads,
    )
    settings = {**FIXED_PARAMS, **params, "seed": seed}
    if threads is not None:
        settings["nthread"] = threads
    booster = xgb.train(settings, matrix, num_boost_round=rounds)
    return bytes(booster.save_raw(raw_format="ubj"))


def _thinned(rows: pl.DataFrame, *, target: str, seed: int) -> pl.DataFrame:
    """Every response and a share of the rest, weighted so that the likelihood stays unbiased.

    A row stays by a hash of its key and campaign, so neither other rows nor their order matter.
    """
    responses = int(rows[target].sum())
    rest = rows.height - responses
    share = min(1.0, ZEROS_PER_RESPONSE * responses / rest)
    key = rows.select(
        pl.col("started_at").dt.date().alias("as_of"),
        pl.concat_str("campaign_id", "household_id", separator=":").alias("household_id"),
        "product_id",
    )
    responded = rows[target] == 1
    weight = pl.when(responded).then(1.0).otherwise(1.0 / share).cast(pl.Float32)
    kept = responded | (pl.Series(uniform(key, seed=seed)) < share)
    return rows.with_columns(weight.alias(_WEIGHT)).filter(kept)


def log_odds(booster: bytes, rows: pl.DataFrame, *, days: int) -> pl.Series:
    """Uncalibrated log-odds of a response, Float64; they order the pairs of an event.

    Args:
        booster: From ``train``.
        rows: ``FEATURES``.
        days: Window of the response: the heuristic's log-odds of it, as the booster corrects them.
    """
    loaded = load(booster)
    margins = loaded.inplace_predict(
        to_matrix(rows, list(loaded.feature_names or FEATURES)),
        base_margin=_heuristic_log_odds(rows, days=days),
        predict_type="margin",
    )
    return pl.Series("log_odds", margins, dtype=pl.Float32).cast(pl.Float64)


def probabilities(calibration: Calibration | None, log_odds: pl.Series) -> pl.Series:
    """Probabilities of log-odds, Float64 in 0..1."""
    odds = log_odds.to_numpy()
    p = np.exp(-np.logaddexp(0.0, -odds)) if calibration is None else calibration.apply(odds)
    return pl.Series("probability", p, dtype=pl.Float64)


def calibrate(predicted: pl.DataFrame) -> Calibration | None:
    """Learn probabilities from what models said of campaigns they had not seen.

    Over all pairs a model that says zero is nearly right; so the map is learned on the ten that an
    event would be shown first.

    Args:
        predicted: ``campaign_id, household_id, product_id, started_at, log_odds, label`` of the
            shortlist.

    Returns:
        The map; ``None`` where fewer than 100 of those responded.
    """
    shown = top(
        predicted.lazy(),
        group=("campaign_id", "household_id"),
        order=(OrderBy("log_odds"),),
        limit=K,
    ).select(
        "household_id",
        "product_id",
        pl.col("started_at").alias("as_of"),
        pl.col("log_odds").alias("score"),
        "label",
    )
    offers = shown.collect()
    responded = int(offers["label"].sum())
    if not MIN_PURCHASES <= responded <= offers.height - MIN_PURCHASES:
        return None
    return fit_calibration(offers)


def _heuristic_log_odds(rows: pl.DataFrame, *, days: int) -> np.ndarray:
    p = rows.select(repeat_cadence(days=days).cast(pl.Float64).alias("p"))["p"].to_numpy()
    clipped = np.clip(p, _SMALLEST, 1.0 - _SMALLEST)
    return np.log(clipped / (1.0 - clipped)).astype(np.float32)
