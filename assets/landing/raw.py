"""Raw tables, one asset per table: the rows of the drops that keep the contract.

Beside each stands its quarantine: rows set aside, with file, row and reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
import polars as pl

from assets.lake_asset import Input, TableContext, lake_asset
from assets.partitions import SAME_WEEK
from checks.contracts.contract import Contract
from checks.contracts.quarantine import QUARANTINE
from checks.contracts.raw import RAW
from checks.drops import Admission, Admitted, DropFile, RefusedDropsError
from models.calendar import end_of_week
from models.pseudonyms import pseudonymise_series
from resources import landing, secrets
from resources.settings import Settings, get_settings
from resources.sources import complete_journey

# Past this share a drop is worse than a few bad rows; somebody should talk to the sender.
QUARANTINE_WARNING = 0.01

# A week of promotions is 400,000 rows; the other tables' years fit in memory.
WEEKS_PER_CHUNK = {"raw.promotions": 4, "raw.basket_lines": 18}


def _codes(contract: Contract, settings: Settings) -> Mapping[str, frozenset[str]]:
    """Closed code lists: declared ones, else those of the bundled year for its own data."""
    if contract.table != "raw.promotions":
        return {}
    known = settings.source == "complete_journey"
    declared = {
        "display": settings.display_codes or (complete_journey.DISPLAY_CODES if known else None),
        "mailer": settings.mailer_codes or (complete_journey.MAILER_CODES if known else None),
    }
    return {column: codes for column, codes in declared.items() if codes}


def _raw_asset(contract: Contract) -> dg.AssetsDefinition:
    table = contract.table.removeprefix("raw.")
    declared = get_settings()
    codes = {c: sorted(legal) for c, legal in _codes(contract, declared).items()}
    key = dg.AssetKey(contract.table.split("."))

    @lake_asset(
        contract,
        QUARANTINE[contract.table],
        inputs={"drops": Input(f"landing.{table}", weeks=SAME_WEEK, load=False)},
        group="raw",
        kinds={"polars", "ducklake"},
        weeks_per_chunk=WEEKS_PER_CHUNK.get(contract.table),
        depends_on=[declared.time_zone, repr(codes)],
        reports=[
            dg.AssetCheckSpec(
                "drop_quality",
                asset=key,
                description="Unknown columns, the share of rows that were set aside, and ids of "
                "your own under the published key.",
            )
        ],
    )
    def raw(context: TableContext) -> Mapping[str, pl.DataFrame]:
        settings = context.settings
        pseudonyms = secrets.pseudonym_key(settings)
        admission = Admission(
            contract=contract,
            time_zone=settings.time_zone,
            pseudonymise=lambda ids: pseudonymise_series(ids, pseudonyms),
            codes=_codes(contract, settings),
        )
        files, unreadable = landing.read_weeks(settings.landing_dir, table, context.weeks)
        try:
            result = admission.admit(files)
        except RefusedDropsError as refused:
            raise RefusedDropsError([*unreadable, *refused.errors]) from refused
        if unreadable:
            raise RefusedDropsError(unreadable)
        exposed = _under_public_key(files, contract, settings)
        _note(context, key, result, exposed=exposed)
        return {
            contract.table: result.frame,
            QUARANTINE[contract.table].table: _sealed(result.set_aside, settings),
        }

    return raw


def _sealed(set_aside: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Rows for the quarantine: what was sent is encrypted, since it may hold raw ids."""
    cipher = secrets.quarantine_cipher(settings)
    weeks = set_aside["week_start"].unique()
    ends = pl.DataFrame(
        {
            "week_start": weeks,
            "known_at": [end_of_week(w, time_zone=settings.time_zone) for w in weeks],
        },
        schema={"week_start": pl.Date, "known_at": pl.Datetime("us")},
    )
    return set_aside.with_columns(
        pl.col("payload").map_elements(
            lambda text: cipher.encrypt(text.encode()).decode(), return_dtype=pl.String
        )
    ).join(ends, on="week_start", how="left", maintain_order="left")


def _under_public_key(
    files: Sequence[DropFile], contract: Contract, settings: Settings
) -> list[str]:
    """Own files whose household ids the published key would guard: anybody could undo it."""
    if "household_id" not in contract.names or not secrets.key_is_public(settings):
        return []
    return [f.name for f in files if Path(f.name).name != complete_journey.FILE_NAME]


def _note(
    context: TableContext, key: dg.AssetKey, result: Admitted, *, exposed: Sequence[str]
) -> None:
    """Add a week's counts to the run's, and what somebody should look at to its check."""
    metadata = context.metadata
    loaded = metadata["rows_loaded"] = metadata.get("rows_loaded", 0) + result.frame.height
    aside = metadata["rows_set_aside"] = metadata.get("rows_set_aside", 0) + result.set_aside.height
    notes = metadata.setdefault("notes", [])
    notes += [
        f"{week}: ignored unknown column(s) {', '.join(columns)}; add them to the contract to "
        "keep them"
        for week, columns in result.unknown_columns.items()
    ]
    if result.set_aside.height:
        first = result.set_aside.row(0, named=True)
        notes.append(
            f"{result.set_aside.height:,} row(s) set aside, e.g. {first['file']} row "
            f"{first['row']}: {first['reason']}"
        )
    if exposed:
        notes.append(
            f"{len(exposed)} file(s) of your own, e.g. {exposed[0]}, have their household ids "
            "hashed with the published key of the bundled year, which anybody can undo: set "
            "LIFTGRAPH_PSEUDONYM_KEY and materialise the raw tables again"
        )
    share = aside / max(loaded + aside, 1)
    unknown = any("unknown column" in n for n in notes)
    public_key = any("published key" in n for n in notes)
    context.check_results[:] = [
        dg.AssetCheckResult(
            asset_key=key,
            check_name="drop_quality",
            passed=not (unknown or public_key) and share <= QUARANTINE_WARNING,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(notes)[:2000] or None,
            metadata={"rows_loaded": loaded, "rows_set_aside": aside, "share_set_aside": share},
        )
    ]


RAW_TABLES = [_raw_asset(c) for c in RAW]
