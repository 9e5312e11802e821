"""Letting a weekly drop in: what becomes of every row of a file that a retailer sent.

A row either satisfies the table's contract, or is set aside with the reason; a file that cannot be
trusted as a whole (unreadable, a column missing or re-typed) is refused with a message that names
the file, the column and the remedy. Pure: frames in, frames out.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from checks.contracts.contract import ColumnSpec, Contract
from models.calendar import business_week, end_of_week, start_of_week

REJECTED = "rejected"
DUPLICATE = "duplicate"
SUPERSEDED = "superseded"

# Most rows of a larger file bad is a fault of the sender's, not of rows: to let its few good ones
# replace a week would empty the week. In a few rows most may be bad by chance.
REFUSED_SHARE = 0.5
REFUSED_ROWS = 20

_MOVE = "move the row to its week's folder"

# When a row happened, where a row says so itself: it must lie in the week of its folder.
EVENT_TIME = {
    "raw.basket_lines": "sold_at",
    "raw.coupon_redemptions": "redeemed_on",
}
# The promotion plan is known before its week begins; everything else when the week has ended.
KNOWN_IN_ADVANCE = frozenset({"raw.promotions"})

SET_ASIDE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "week_start": pl.Date,
    "file": pl.String,
    "row": pl.Int64,
    "kind": pl.String,
    "column_name": pl.String,
    "reason": pl.String,
    "payload": pl.String,
}

# Where a row came from, until it is settled: its place in its file, and the file's number.
_NO_PLACE = (
    pl.lit(None, dtype=pl.Int64).alias("_row"),
    pl.lit(None, dtype=pl.Int32).alias("_file"),
)


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


class RefusedDropsError(Exception):
    """Several drops that cannot be let in, so that all can be mended at once.

    Attributes:
        errors: One per file, at least one.
    """

    def __init__(self, errors: Sequence[DropError]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(map(str, errors)))


@dataclass(frozen=True)
class DropFile:
    """One file of a drop, as read.

    Attributes:
        name: For messages, relative to the landing folder.
        week: Monday of the folder it lies in.
        rows: As read.
        textual: Whether values came as text (CSV), to be parsed.
    """

    name: str
    week: date
    rows: pl.DataFrame
    textual: bool


@dataclass(frozen=True)
class Admitted:
    """What became of the rows of some drops.

    Attributes:
        frame: Rows that satisfy the contract, in its columns and types.
        set_aside: The others, with their ``week_start``: ``file, row, kind, column_name, reason,
            payload`` (the row as it was sent, as JSON; it may hold raw household ids).
        unknown_columns: By week, columns that no contract knows; ignored.
    """

    frame: pl.DataFrame
    set_aside: pl.DataFrame
    unknown_columns: Mapping[date, tuple[str, ...]]


@dataclass(frozen=True)
class Admission:
    """The rules by which drops of one table are let in.

    Attributes:
        contract: Of the raw table.
        time_zone: Business time zone.
        pseudonymise: Raw household ids to pseudonyms.
        codes: Column to its legal codes, where they are closed.
    """

    contract: Contract
    time_zone: str
    pseudonymise: Callable[[pl.Series], pl.Series]
    codes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def admit(self, files: Sequence[DropFile]) -> Admitted:
        """Let the rows of some weeks' files in.

        Exact duplicates within a week are removed. Where a table has a key, a later row of the
        week (files in the order given) supersedes an earlier one.

        Raises:
            RefusedDropsError: Files that cannot be trusted as a whole; all were looked at.
        """
        frames = [self.contract.empty().with_columns(_NO_PLACE)]
        set_aside = [pl.DataFrame(schema=SET_ASIDE_SCHEMA)]
        unknown: dict[date, tuple[str, ...]] = {}
        refused: list[DropError] = []
        rejected: dict[int, dict[int, tuple[str, str]]] = {}
        for number, file in enumerate(files):
            try:
                strange = self._require_columns(file)
                typed, bad = self._typed(file)
                bad += self._wrong_week(typed, file)
            except DropError as error:
                refused.append(error)
                continue
            if strange:
                unknown[file.week] = tuple(sorted({*unknown.get(file.week, ()), *strange}))
            bad += self._unknown_codes(typed)
            reasons = _first_reason(bad)
            rejected[number] = dict(reasons)
            set_aside.append(_rejected(file, reasons))
            frame = self._finished(typed, file.week)
            if reasons:
                frame = frame.filter(~pl.col("_row").is_in(list(reasons)))
            frames.append(frame.with_columns(pl.lit(number, dtype=pl.Int32).alias("_file")))
        frame = pl.concat(frames)
        frame, breaches = self._without_breaches(frame)
        for number, reasons in breaches.items():
            set_aside.append(_rejected(files[number], reasons))
            rejected[number] |= reasons
        refused += [
            _mostly_bad(files[number], reasons)
            for number, reasons in rejected.items()
            if len(reasons) > max(REFUSED_SHARE * files[number].rows.height, REFUSED_ROWS - 1)
        ]
        if refused:
            raise RefusedDropsError(refused)
        frame, removed = self._without_repeats(frame, files)
        return Admitted(
            frame=frame.select(self.contract.names),
            set_aside=pl.concat([*set_aside, *removed]),
            unknown_columns=unknown,
        )

    def _without_breaches(
        self, frame: pl.DataFrame
    ) -> tuple[pl.DataFrame, dict[int, dict[int, tuple[str, str]]]]:
        found: dict[int, dict[int, tuple[str, str]]] = {}
        try:
            # Keys are settled below: a repeated key is no fault of one row.
            _without_key(self.contract).validate(frame.select(self.contract.names), lazy=True)
        except SchemaErrors as error:
            cases = error.failure_cases.filter(pl.col("index").is_not_null())
            places = frame.select("_file", "_row")[cases["index"].cast(pl.Int64)]
            for (file, row), case in zip(places.rows(), cases.iter_rows(named=True), strict=True):
                found.setdefault(file, {}).setdefault(row, _breach(case))
            bad = places.unique()
            frame = frame.join(bad, on=["_file", "_row"], how="anti", maintain_order="left")
        return frame, found

    def _without_repeats(
        self, frame: pl.DataFrame, files: Sequence[DropFile]
    ) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
        names = list(self.contract.names)
        removed = []
        kept = frame.unique(subset=names, keep="first", maintain_order=True)
        if kept.height < frame.height:
            twins = frame.join(kept.select("_file", "_row"), on=["_file", "_row"], how="anti")
            removed.append(_removed(twins, files, DUPLICATE, "exact duplicate of an earlier row"))
        if self.contract.key:
            newest = kept.unique(subset=list(self.contract.key), keep="last", maintain_order=True)
            if newest.height < kept.height:
                older = kept.join(newest.select("_file", "_row"), on=["_file", "_row"], how="anti")
                key = ", ".join(k for k in self.contract.key if k != "week_start")
                reason = f"a later row of this week states the same {key} otherwise"
                removed.append(_removed(older, files, SUPERSEDED, reason, keep_payload=True))
                kept = newest
        return kept, removed

    # -- steps -----------------------------------------------------------------------------------

    def _sent(self) -> list[ColumnSpec]:
        """Columns a file may send: the contract's, less what is derived from the folder."""
        return [c for c in self.contract.columns if c.name not in {"known_at", "week_start"}]

    def _require_columns(self, file: DropFile) -> tuple[str, ...]:
        raw, name = file.rows, file.name
        if raw.height == 0 and self.contract.freshness_days:
            raise DropError(
                file=name,
                cause="the file has no rows",
                remedy=f"A week of {self.contract.table} cannot be empty: send the week again, or "
                "remove the file if there is none",
                weeks=[file.week],
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
                    weeks=[file.week],
                )
        known = {c.name for c in self.contract.columns}
        return tuple(c for c in raw.columns if c not in known)

    def _typed(self, file: DropFile) -> tuple[pl.DataFrame, list[tuple[int, str, str]]]:
        raw, name, textual = file.rows, file.name, file.textual
        bad: list[tuple[int, str, str]] = []
        series = [pl.int_range(raw.height, dtype=pl.Int64, eager=True).alias("_row")]
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
                    cause=f"the column holds {sent.dtype}, the contract says {_said(column.dtype)}",
                    remedy=f"Send it as {_said(column.dtype)}, or raise the contract's version "
                    "and declare a backfill if the change is meant (docs/contracts)",
                    weeks=[file.week],
                )
            lost = sent.is_not_null() & cast.is_null()
            if lost.sum() == sent.is_not_null().sum() > 0:
                raise DropError(
                    file=name,
                    column=column.name,
                    cause=f"no value can be read as {_said(column.dtype)}, "
                    f"e.g. {sent.filter(lost)[0]!r}",
                    remedy=f"Send {column.name} as {_said(column.dtype)}",
                    weeks=[file.week],
                )
            bad += [
                (row, column.name, f"{sent[row]!r} is not {_said(column.dtype)}")
                for row in lost.arg_true().to_list()
            ]
            series.append(cast.alias(column.name))
        if "week_start" in raw.columns:
            series.append(_week_column(raw["week_start"], file))
        return pl.DataFrame(series), bad

    def _wrong_week(self, typed: pl.DataFrame, file: DropFile) -> list[tuple[int, str, str]]:
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
                pl.col("week") != file.week
            )
            found += [
                (row, event, f"{value} lies in the week of {week}, not of {file.week}; {_MOVE}")
                for row, value, week in wrong.rows()
            ]
            if wrong.height == typed.height > 0:
                raise _in_another_week(file, column=event, first=wrong["week"][0])
        if "_week_start" in typed.columns:
            wrong = typed.select("_row", "_week_start").filter(
                pl.col("_week_start").is_null() | (pl.col("_week_start") != file.week)
            )
            if wrong.height == typed.height > 0:
                raise _in_another_week(
                    file, column="week_start", first=file.rows["week_start"][wrong["_row"][0]]
                )
            found += [
                (
                    row,
                    "week_start",
                    f"{file.rows['week_start'][row]} is not the folder's week {file.week}; {_MOVE}",
                )
                for row in wrong["_row"].to_list()
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

    def _finished(self, typed: pl.DataFrame, week: date) -> pl.DataFrame:
        if "household_id" in typed.columns:
            ids = typed["household_id"]
            typed = typed.with_columns(self.pseudonymise(ids.set(ids == "", None)))
        at = start_of_week if self.contract.table in KNOWN_IN_ADVANCE else end_of_week
        return typed.with_columns(
            pl.lit(week).alias("week_start"),
            pl.lit(at(week, time_zone=self.time_zone), dtype=pl.Datetime("us")).alias("known_at"),
        ).select(*self.contract.names, "_row")


@lru_cache(maxsize=64)
def _without_key(contract: Contract) -> pa.DataFrameSchema:
    relaxed = copy.deepcopy(contract.schema)
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
        return _parse_times(text)
    if column.dtype == pl.Date:
        return _parse_dates(text)
    if column.dtype == pl.String:
        return text
    return text.cast(column.dtype, strict=False)


def _parse_times(text: pl.Series) -> pl.Series:
    """ISO times as naive UTC, each by itself: a guessed format would hang on the first value."""
    iso = text.str.replace("T", " ", literal=True).str.replace("Z$", "+00:00")
    name = text.name
    return pl.select(
        pl.coalesce(
            pl.lit(iso).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False),
            pl.lit(iso).str.to_datetime("%Y-%m-%d %H:%M", time_unit="us", strict=False),
            pl.lit(iso)
            .str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", strict=False)
            .dt.replace_time_zone(None),
        ).alias(name)
    ).to_series()


def _parse_dates(text: pl.Series) -> pl.Series:
    """ISO dates; a time of day is dropped."""
    return text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)


def _week_column(sent: pl.Series, file: DropFile) -> pl.Series:
    if sent.dtype == pl.String:
        sent = _parse_dates(sent)
    if sent.dtype not in {pl.Date, pl.Datetime, pl.Null}:
        raise DropError(
            file=file.name,
            column="week_start",
            cause=f"the column holds {sent.dtype}, the contract says {_said(pl.Date())}",
            remedy="Send the Monday of the week, or leave the column out: the folder says it",
            weeks=[file.week],
        )
    return sent.cast(pl.Date).alias("_week_start")


def _in_another_week(file: DropFile, *, column: str, first: object) -> DropError:
    return DropError(
        file=file.name,
        column=column,
        cause=f"every row lies in another week than the folder's, {file.week}; the first in that "
        f"of {first}",
        remedy="Move the file to the folder of its week",
        weeks=[file.week],
    )


def _mostly_bad(file: DropFile, reasons: Mapping[int, tuple[str, str]]) -> DropError:
    column, share = Counter(column for column, _ in reasons.values()).most_common(1)[0]
    row = next(row for row, (named, _) in reasons.items() if named == column)
    return DropError(
        file=file.name,
        column=column,
        cause=f"{len(reasons):,} of {file.rows.height:,} rows break the contract, {share:,} of "
        f"them here, e.g. row {row}: {reasons[row][1]}",
        remedy="A file with so few good rows would empty its week: correct it and send it again; "
        "what was there before stands",
        weeks=[file.week],
    )


def _said(dtype: pl.DataType) -> str:
    """A type as a sender would name it."""
    if dtype == pl.Datetime:
        return "a UTC time (2017-01-02 15:04:05)"
    if dtype == pl.Date:
        return "a date (2017-01-02)"
    if dtype.is_integer():
        return f"a whole number ({dtype})"
    if dtype.is_float():
        return f"a number ({dtype})"
    return "text" if dtype == pl.String else str(dtype)


def _breach(case: Mapping[str, Any]) -> tuple[str, str]:
    """Column at fault and reason of a row that breaks the contract."""
    if case["schema_context"] == "DataFrameSchema":
        return "*", f"the row breaks the rule: {case['check']}"
    if case["check"] == "not_nullable":
        return case["column"], f"no value, and {case['column']} needs one"
    return case["column"], f"{case['failure_case']!r} breaks {case['check']}"


def _first_reason(bad: Sequence[tuple[int, str, str]]) -> dict[int, tuple[str, str]]:
    reasons: dict[int, tuple[str, str]] = {}
    for row, column, reason in bad:
        reasons.setdefault(row, (column, reason))
    return reasons


def _rejected(file: DropFile, reasons: Mapping[int, tuple[str, str]]) -> pl.DataFrame:
    rows = sorted(reasons)
    return pl.DataFrame(
        {
            "week_start": [file.week] * len(rows),
            "file": [file.name] * len(rows),
            "row": rows,
            "kind": [REJECTED] * len(rows),
            "column_name": [reasons[r][0] for r in rows],
            "reason": [reasons[r][1] for r in rows],
            "payload": _as_sent(file, rows),
        },
        schema=SET_ASIDE_SCHEMA,
    )


def _as_sent(file: DropFile, rows: Sequence[int]) -> pl.Series:
    """Rows of a file as JSON."""
    if not rows:
        return pl.Series([], dtype=pl.String)
    writable = [
        # JSON has no bytes, and the writer no word for them.
        pl.Series(s.name, [None if v is None else repr(v) for v in s], dtype=pl.String)
        if "Binary" in str(s.dtype) or s.dtype == pl.Object
        else s
        for s in file.rows[list(rows)].get_columns()
    ]
    return pl.DataFrame(writable).select(pl.struct(pl.all()).struct.json_encode()).to_series()


def _removed(
    rows: pl.DataFrame,
    files: Sequence[DropFile],
    kind: str,
    reason: str,
    *,
    keep_payload: bool = False,
) -> pl.DataFrame:
    """Rows that are not lost: the twin of a duplicate stands in the table."""
    payload = [None] * rows.height
    if keep_payload:
        for number, places in rows.with_row_index("_at").group_by("_file"):
            sent = _as_sent(files[number[0]], places["_row"].to_list())
            for at, text in zip(places["_at"], sent, strict=True):
                payload[at] = text
    file_names = pl.Series([f.name for f in files], dtype=pl.String)
    return rows.select(
        "week_start",
        file_names.gather(rows["_file"]).alias("file"),
        pl.col("_row").alias("row"),
        pl.lit(kind).alias("kind"),
        pl.lit(None, dtype=pl.String).alias("column_name"),
        pl.lit(reason).alias("reason"),
        pl.Series("payload", payload, dtype=pl.String),
    )
