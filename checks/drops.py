"""Letting a weekly drop in: what becomes of every row of a file that a retailer sent.

A row either satisfies the table's contract, or is set aside with the reason; a file that cannot be
trusted as a whole (unreadable, a column missing or re-typed) is refused with a message that names
the file, the column and the remedy. Pure: frames in, frames out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl
from pandera.errors import SchemaErrors

from checks.contracts.contract import ColumnSpec, Contract
from models.calendar import business_week, end_of_week, start_of_week

REJECTED = "rejected"
DUPLICATE = "duplicate"
SUPERSEDED = "superseded"

_MOVE = "move the row to its week's folder"

# When a row happened, where a row says so itself: it must lie in the week of its folder.
EVENT_TIME = {
    "raw.basket_lines": "sold_at",
    "raw.coupon_redemptions": "redeemed_on",
}
# The promotion plan is known before its week begins; everything else when the week has ended.
KNOWN_IN_ADVANCE = frozenset({"raw.promotions"})

SET_ASIDE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "file": pl.String,
    "row": pl.Int64,
    "kind": pl.String,
    "column_name": pl.String,
    "reason": pl.String,
    "payload": pl.String,
}


class DropError(Exception):
    """A drop that cannot be let in as a whole.

    Attributes:
        weeks: Weeks it concerns.
    """

    def __init__(
        self,
        *,
        file: str,
        cause: str,
        remedy: str,
        column: str | None = None,
        weeks: Sequence[date] = (),
    ) -> None:
        self.weeks = list(weeks)
        where = f"{file}, column {column}" if column else file
        super().__init__(f"{where}: {cause}. {remedy}")


@dataclass(frozen=True)
class Admitted:
    """What became of the rows of a drop.

    Attributes:
        frame: Rows that satisfy the contract, in its columns and types.
        set_aside: The others: ``file, row, kind, column_name, reason, payload`` (the row as it was
            sent, as JSON; it may hold raw household ids).
        unknown_columns: Columns that no contract knows; ignored.
    """

    frame: pl.DataFrame
    set_aside: pl.DataFrame
    unknown_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Admission:
    """The rules by which files of one table and week are let in.

    Attributes:
        contract: Of the raw table.
        week: Monday of the folder the file lies in.
        time_zone: Business time zone.
        pseudonymise: Raw household ids to pseudonyms.
        codes: Column to its legal codes, where they are closed.
    """

    contract: Contract
    week: date
    time_zone: str
    pseudonymise: Callable[[pl.Series], pl.Series]
    codes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def file(self, raw: pl.DataFrame, *, name: str, textual: bool) -> Admitted:
        """Let one file's rows in.

        Args:
            raw: As read.
            name: Of the file, for messages.
            textual: Whether values came as text (CSV), to be parsed.

        Raises:
            DropError: The file as a whole cannot be trusted.
        """
        unknown = self._require_columns(raw, name)
        typed, bad = self._typed(raw, name=name, textual=textual)
        bad += self._wrong_week(typed, name)
        bad += self._unknown_codes(typed)
        frame = self._finished(typed)
        rejected = _first_reason(bad)
        candidates = frame.filter(~pl.col("_row").is_in(list(rejected)))
        rejected |= self._contract_breaches(candidates)
        good = frame.filter(~pl.col("_row").is_in(list(rejected)))
        return Admitted(
            frame=good.with_columns(pl.lit(name).alias("_file")),
            set_aside=_set_aside(raw, rejected, name),
            unknown_columns=unknown,
        )

    def week_of_files(self, admitted: Sequence[Admitted]) -> Admitted:
        """Join the files of one week: exact duplicates out, later statements of a key win."""
        if not admitted:
            return Admitted(self.contract.empty(), pl.DataFrame(schema=SET_ASIDE_SCHEMA))
        frame = pl.concat([a.frame for a in admitted])
        names = list(self.contract.names)
        kept = frame.unique(subset=names, keep="first", maintain_order=True)
        set_aside = [a.set_aside for a in admitted]
        if kept.height < frame.height:
            twins = frame.join(kept.select("_file", "_row"), on=["_file", "_row"], how="anti")
            set_aside.append(_removed(twins, DUPLICATE, "exact duplicate of an earlier row"))
        if self.contract.key:
            newest = kept.unique(subset=list(self.contract.key), keep="last", maintain_order=True)
            if newest.height < kept.height:
                older = kept.join(newest.select("_file", "_row"), on=["_file", "_row"], how="anti")
                key = ", ".join(k for k in self.contract.key if k != "week_start")
                reason = f"a later row of this week states the same {key} otherwise"
                set_aside.append(_removed(older, SUPERSEDED, reason, names))
                kept = newest
        return Admitted(
            frame=kept.select(names),
            set_aside=pl.concat(set_aside),
            unknown_columns=tuple(sorted({c for a in admitted for c in a.unknown_columns})),
        )

    # -- steps -----------------------------------------------------------------------------------

    def _sent(self) -> list[ColumnSpec]:
        """Columns a file may send: the contract's, less what is derived from the folder."""
        return [c for c in self.contract.columns if c.name not in {"known_at", "week_start"}]

    def _require_columns(self, raw: pl.DataFrame, name: str) -> tuple[str, ...]:
        if raw.height == 0 and self.contract.freshness_days:
            raise DropError(
                file=name,
                cause="the file has no rows",
                remedy=f"A week of {self.contract.table} cannot be empty: send the week again, or "
                "remove the file if there is none",
                weeks=[self.week],
            )
        for column in self._sent():
            if column.name not in raw.columns and not column.nullable:
                close = [c for c in raw.columns if c.lower().strip() == column.name]
                hint = f" (there is {close[0]!r})" if close else ""
                raise DropError(
                    file=name,
                    column=column.name,
                    cause=f"the column is missing{hint}; the file has {', '.join(raw.columns)}",
                    remedy=f"Send the file with {column.name} ({column.description}); the table's "
                    "columns are in docs/contracts",
                    weeks=[self.week],
                )
        known = {c.name for c in self.contract.columns}
        return tuple(c for c in raw.columns if c not in known)

    def _typed(
        self, raw: pl.DataFrame, *, name: str, textual: bool
    ) -> tuple[pl.DataFrame, list[tuple[int, str, str]]]:
        bad: list[tuple[int, str, str]] = []
        series = [pl.int_range(raw.height, eager=True).alias("_row")]
        for column in self._sent():
            if column.name not in raw.columns:
                series.append(pl.Series(column.name, [None] * raw.height, dtype=column.dtype))
                continue
            sent = raw[column.name]
            cast = _parse(sent, column) if textual else _cast(sent, column)
            if cast is None:
                raise DropError(
                    file=name,
                    column=column.name,
                    cause=f"the column holds {sent.dtype}, the contract says {column.dtype}",
                    remedy=f"Send it as {column.dtype}, or raise the contract's version and "
                    "declare a backfill if the change is meant (docs/contracts)",
                    weeks=[self.week],
                )
            lost = sent.is_not_null() & cast.is_null()
            if sent.len() and lost.sum() == sent.is_not_null().sum() > 0:
                raise DropError(
                    file=name,
                    column=column.name,
                    cause=f"no value can be read as {column.dtype}, e.g. {sent[lost][0]!r}",
                    remedy=f"Send {column.name} as {column.dtype}",
                    weeks=[self.week],
                )
            bad += [
                (row, column.name, f"{sent[row]!r} is not {column.dtype}")
                for row in lost.arg_true().to_list()
            ]
            series.append(cast.alias(column.name))
        if "week_start" in raw.columns:
            series.append(_week_column(raw["week_start"]))
        return pl.DataFrame(series), bad

    def _wrong_week(self, typed: pl.DataFrame, name: str) -> list[tuple[int, str, str]]:
        event = EVENT_TIME.get(self.contract.table)
        found = []
        if event:
            moment = pl.col(event)
            week = (
                business_week(moment, time_zone=self.time_zone)
                if typed.schema[event] == pl.Datetime
                else moment.dt.truncate("1w")
            )
            wrong = typed.select("_row", event, week.alias("week")).filter(
                pl.col("week") != self.week
            )
            found += [
                (row, event, f"{value} lies in the week of {week}, not of {self.week}; {_MOVE}")
                for row, value, week in wrong.rows()
            ]
            if wrong.height == typed.height > 0:
                raise DropError(
                    file=name,
                    column=event,
                    cause=f"every row lies in another week than the folder's, {self.week}; the "
                    f"first in that of {wrong['week'][0]}",
                    remedy="Move the file to the folder of its week",
                    weeks=[self.week],
                )
        if "_week_start" in typed.columns:
            wrong = typed.select("_row", "_week_start").filter(
                pl.col("_week_start").is_null() | (pl.col("_week_start") != self.week)
            )
            found += [
                (row, "week_start", f"{value} is not the folder's week {self.week}; {_MOVE}")
                for row, value in wrong.rows()
            ]
        return found

    def _unknown_codes(self, typed: pl.DataFrame) -> list[tuple[int, str, str]]:
        found = []
        for column, legal in self.codes.items():
            strange = typed.select("_row", column).filter(
                pl.col(column).is_not_null() & ~pl.col(column).is_in(sorted(legal))
            )
            known = f"known are {' '.join(sorted(legal))}; correct it, or add it to {column}_codes"
            found += [
                (row, column, f"unknown code {value!r}; {known}") for row, value in strange.rows()
            ]
        return found

    def _finished(self, typed: pl.DataFrame) -> pl.DataFrame:
        if "household_id" in typed.columns:
            ids = typed["household_id"]
            typed = typed.with_columns(self.pseudonymise(ids.set(ids == "", None)))
        known_at = (
            start_of_week(self.week, time_zone=self.time_zone)
            if self.contract.table in KNOWN_IN_ADVANCE
            else end_of_week(self.week, time_zone=self.time_zone)
        )
        return typed.with_columns(
            pl.lit(self.week).alias("week_start"),
            pl.lit(known_at, dtype=pl.Datetime("us")).alias("known_at"),
        ).select("_row", *self.contract.names)

    def _contract_breaches(self, frame: pl.DataFrame) -> dict[int, tuple[str, str]]:
        schema = self.contract.schema
        # Keys are settled over all files of the week, not within one.
        schema = schema if not self.contract.key else _without_key(schema)
        try:
            schema.validate(frame.select(self.contract.names), lazy=True)
        except SchemaErrors as error:
            rows = frame["_row"]
            return {
                int(rows[case["index"]]): (
                    case["column"] or "*",
                    f"{case['failure_case']!r} breaks {case['check']}",
                )
                for case in error.failure_cases.filter(pl.col("index").is_not_null())
                .reverse()
                .iter_rows(named=True)
            }
        return {}


def _without_key(schema):
    import copy

    relaxed = copy.deepcopy(schema)
    relaxed.unique = None
    return relaxed


def _cast(sent: pl.Series, column: ColumnSpec) -> pl.Series | None:
    """A typed file's column in the contract's type, or ``None`` if it is of another kind."""
    have, want = sent.dtype, column.dtype
    if have == pl.Null:
        return sent.cast(want)
    if want == pl.String:
        legal = have in {pl.String, pl.Categorical, pl.Enum} or have.is_integer()
    elif want.is_integer():
        legal = have.is_integer()
    elif want.is_float():
        legal = have.is_numeric()
    elif want == pl.Datetime:
        if have == pl.Datetime and getattr(have, "time_zone", None):
            sent = sent.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        legal = have == pl.Datetime
    elif want == pl.Date:
        legal = have in {pl.Date, pl.Datetime}
    else:
        legal = have == want
    return sent.cast(want, strict=False) if legal else None


def _parse(sent: pl.Series, column: ColumnSpec) -> pl.Series:
    """A text column in the contract's type; what cannot be read is null."""
    text = sent.cast(pl.String).str.strip_chars()
    if column.dtype == pl.Datetime:
        return text.str.to_datetime(
            time_unit="us", strict=False, time_zone="UTC"
        ).dt.replace_time_zone(None)
    if column.dtype == pl.Date:
        return text.str.slice(0, 10).str.to_date(strict=False)
    if column.dtype == pl.String:
        return text
    return text.cast(column.dtype, strict=False)


def _week_column(sent: pl.Series) -> pl.Series:
    if sent.dtype == pl.String:
        sent = sent.str.slice(0, 10).str.to_date(strict=False)
    return sent.cast(pl.Date, strict=False).alias("_week_start")


def _first_reason(bad: Sequence[tuple[int, str, str]]) -> dict[int, tuple[str, str]]:
    reasons: dict[int, tuple[str, str]] = {}
    for row, column, reason in bad:
        reasons.setdefault(row, (column, reason))
    return reasons


def _set_aside(
    raw: pl.DataFrame, rejected: Mapping[int, tuple[str, str]], name: str
) -> pl.DataFrame:
    rows = sorted(rejected)
    payload = raw[rows].select(pl.struct(pl.all()).struct.json_encode().alias("payload"))
    return pl.DataFrame(
        {
            "file": [name] * len(rows),
            "row": rows,
            "kind": [REJECTED] * len(rows),
            "column_name": [rejected[r][0] for r in rows],
            "reason": [rejected[r][1] for r in rows],
            "payload": payload["payload"] if rows else [],
        },
        schema=SET_ASIDE_SCHEMA,
    )


def _removed(
    rows: pl.DataFrame, kind: str, reason: str, names: Sequence[str] | None = None
) -> pl.DataFrame:
    """Rows that are not lost: the twin of a duplicate stands in the table."""
    payload = (
        pl.struct([pl.col(n) for n in names]).struct.json_encode()
        if names
        else pl.lit(None, dtype=pl.String)
    )
    return rows.select(
        pl.col("_file").alias("file"),
        pl.col("_row").cast(pl.Int64).alias("row"),
        pl.lit(kind).alias("kind"),
        pl.lit(None, dtype=pl.String).alias("column_name"),
        pl.lit(reason).alias("reason"),
        payload.alias("payload"),
    )
