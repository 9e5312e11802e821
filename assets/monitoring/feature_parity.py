"""Whether what was served is what the lake gives: each day's decisions, recomputed."""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg
import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from checks.contracts.contract import Contract
from checks.contracts.monitoring import FEATURE_PARITY
from checks.contracts.registry import contract_of
from models.calendar import start_of_week
from models.monitoring.feature_parity import Marts, Offline
from models.monitoring.parity_days import business_day, parity_of, sampled
from models.ranking.candidates import WINDOW
from models.serving.snapshot import SnapshotManifest
from resources.lake import Lake
from resources.online_snapshot import SnapshotError, open_snapshot

# Bits differ or they do not: the allowance is for events that arrive while a decision is made.
MAX_RATE = 0.001
KEPT_DAYS = 90
_QUARTER = timedelta(weeks=13)
_WEEK = timedelta(weeks=1)

PARITY_CHECK = dg.AssetCheckSpec(
    name="parity",
    asset=dg.AssetKey(["monitoring", "feature_parity"]),
    description=f"No feature served differs from the one recomputed in more than {MAX_RATE:.1%} "
    "of the candidates.",
)


@lake_asset(
    FEATURE_PARITY,
    inputs={"decisions": Input("serving.decisions"), "events": Input("serving.events")},
    group="monitoring",
    kinds={"polars", "ducklake"},
    partitioned=False,
    reports=[PARITY_CHECK],
)
def feature_parity(
    context: TableContext, decisions: pl.LazyFrame, events: pl.LazyFrame
) -> pl.DataFrame:
    zone = context.settings.time_zone
    newest = decisions.select(business_day(zone).max()).collect().item()
    before = context.lake.scan(FEATURE_PARITY).collect()
    if newest is None:
        context.check_results.append(_result(before.clear(), [], asked={}))
        return before
    # The newest day again: it may have grown since.
    last: date | None = before.select(pl.col("day").max()).item()
    first = newest - timedelta(KEPT_DAYS) if last is None else min(last, newest)
    later = decisions.select(day=business_day(zone)).filter(pl.col("day") >= first)
    days = later.unique().sort("day").collect()["day"].to_list()
    found: list[pl.DataFrame] = []
    left_out: list[str] = []
    asked = {False: 0, True: 0}
    for day in days:
        rows = sampled(decisions.filter(business_day(zone) == day)).collect()
        for fresh in asked:
            asked[fresh] += rows.filter(pl.col("fresh") == fresh).height
        parts = _compared(context, rows, events, left_out)
        found += [f.with_columns(day=day).select(before.columns) for f in parts]
    made = pl.concat([before.clear(), *found])
    context.check_results.append(_result(made, sorted(set(left_out)), asked=asked))
    context.metadata["days"] = f"{days[0]} to {days[-1]}"
    context.metadata |= {f"compared_{n}": v for n, v in _compared_counts(made).items()}
    kept = before.filter(~pl.col("day").is_in(days), pl.col("day") > newest - timedelta(KEPT_DAYS))
    return pl.concat([kept, made])


def _compared(
    context: TableContext, of_day: pl.DataFrame, events: pl.LazyFrame, left_out: list[str]
) -> list[pl.DataFrame]:
    """A day's comparison per snapshot; what cannot be compared is added to ``left_out``."""
    zone, found = context.settings.time_zone, []
    for (version,), rows in of_day.partition_by("snapshot_version", as_dict=True).items():
        try:
            snapshot = open_snapshot(context.settings.online_dir, str(version))
        except SnapshotError as error:
            left_out.append(str(error))
            continue
        made_from = int(snapshot.manifest.data_snapshot)
        if not context.lake.has_snapshot(made_from):
            left_out.append(
                f"online snapshot {version} was made from lake version {made_from}, which has "
                "expired: write the online snapshot again (materialise serving.online_snapshot)"
            )
            continue
        offline = _offline(context.lake, snapshot.manifest, zone)
        found.append(parity_of(rows, snapshot=snapshot, offline=offline, events=events))
    return found


def _offline(lake: Lake, manifest: SnapshotManifest, zone: str) -> Offline:
    """The marts as they were when the snapshot was written."""
    as_of, version = manifest.as_of, int(manifest.data_snapshot)

    def scan(table: str, first: date | None = None, last: date | None = None) -> pl.LazyFrame:
        contract: Contract = contract_of(table)
        return lake.scan(contract, first=first, last=last, snapshot=version)

    return Offline(
        marts=Marts(
            lines=scan("marts.fct_basket_line", as_of - WINDOW, as_of - _WEEK),
            products=scan("marts.dim_product"),
            promotions=scan("marts.fct_promotion", as_of - _QUARTER, as_of),
            campaigns=scan("marts.dim_campaign"),
            targets=scan("marts.fct_campaign_target"),
            coupons=scan("marts.fct_coupon_product"),
        ),
        as_of=as_of,
        instant=start_of_week(as_of, time_zone=zone),
        time_zone=zone,
    )


def _compared_counts(made: pl.DataFrame) -> dict[str, int]:
    runs = made.unique(["day", "snapshot_version", "fresh"])
    return {
        name: int(runs.filter(pl.col("fresh") == fresh)["decisions"].sum())
        for name, fresh in (("fresh", True), ("usual", False))
    }


def _result(
    made: pl.DataFrame, left_out: list[str], *, asked: Mapping[bool, int]
) -> dg.AssetCheckResult:
    worst = pl.max_horizontal("mismatch_rate", "missing_rate", "extra_rate")
    broken = made.filter(worst > MAX_RATE).sort(worst, descending=True)
    said = [
        f"{row['feature']}: {row['mismatch_rate']:.1%} differ, {row['missing_rate']:.1%} missing, "
        f"{row['extra_rate']:.1%} extra"
        for row in broken.head(10).iter_rows(named=True)
    ]
    compared = _compared_counts(made)
    # Nothing differs, but nothing of what events change was looked at either.
    unseen = asked.get(True, 0) > 0 and compared["fresh"] == 0
    failed = not broken.is_empty() or bool(left_out)
    if unseen:
        said.append(f"none of {asked[True]} fresh decisions could be compared")
    return dg.AssetCheckResult(
        check_name=PARITY_CHECK.name,
        passed=not failed and not unseen,
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        description="; ".join([*said, *left_out]) or "every feature is the one recomputed"
        if made.height or left_out or unseen
        else "no decision to compare",
        metadata={"features": made["feature"].n_unique(), "broken": broken.height, **compared},
    )
