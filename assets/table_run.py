"""One run of a table asset: compute by chunks of weeks, validate, report, and only then write."""

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.partitions import as_weeks
from assets.table_body import Body, Frames, TableContext
from assets.table_inputs import input_versions
from checks.contracts.contract import Contract, ContractReport, validate
from checks.drops import DropError, RefusedDropsError
from resources import partition_status, run_reaper
from resources.lake import Lake, Staged, stage
from resources.lake_io import Provenance, Validated
from resources.partition_status import PartitionStatus
from resources.settings import Settings

progress = logging.getLogger("liftgraph.progress")

CONTRACT_CHECK = "contract"
# Tag of a run that leaves alone the weeks whose code and inputs are those of their last good run.
ONLY_STALE_TAG = "liftgraph/only_stale"

# Often enough to see that it lives.
SECONDS_BETWEEN_PROGRESS = 5.0


def output_name(contract: Contract) -> str:
    """Of a table, among its step's outputs."""
    return contract.table.replace(".", "__")


@dataclass
class TableRun:
    """One execution of a table asset over a week, a range of weeks, or the whole table."""

    context: dg.AssetExecutionContext
    body: Body
    frames: Frames
    version: str

    def __post_init__(self) -> None:
        self.contracts = self.body.contracts
        self.partitioned = self.body.partitioned
        self.lake: Lake = self.context.resources.lake
        self.settings: Settings = self.context.resources.settings
        run_reaper.hold(self.settings, self.context.run_id)
        self.started = self.said = time.perf_counter()
        self.weeks = as_weeks(self.context.partition_keys) if self.partitioned else []
        self.inputs = self.input_versions()
        if self.partitioned and self.context.run.tags.get(ONLY_STALE_TAG) == "true":
            self.weeks = self.stale_weeks()
        self.metadata: dict[str, Any] = {}
        self.check_results_of_function: list[dg.AssetCheckResult] = []

    @property
    def name(self) -> str:
        return self.contracts[0].table

    @property
    def staging(self) -> Path:
        return self.settings.lake_dir / "staging" / self.context.run_id / self.name

    def results(self) -> Iterator[Any]:
        parts: dict[str, list[pl.DataFrame | Staged]] = {c.table: [] for c in self.contracts}
        reports: dict[str, list[ContractReport]] = {c.table: [] for c in self.contracts}
        inputs = self.inputs
        refused: list[DropError] = []
        try:
            self.frames = self.body.held(self.frames)
            chunks = self.body.chunks(self.weeks)
            with ThreadPoolExecutor(max_workers=self.body.parallel_chunks) as pool:
                for made in pool.map(self.make_chunk, range(len(chunks)), chunks):
                    if isinstance(made, RefusedDropsError):
                        refused += made.errors
                        continue
                    for contract, report, part in made:
                        reports[contract.table].append(report)
                        parts[contract.table].append(part)
            if refused:
                raise dg.Failure(description="\n".join(map(str, refused)), allow_retries=False)
            yield from self.check_results(reports)
            yield from self.check_results_of_function
            self.raise_if_failed(reports, inputs)
            seconds = time.perf_counter() - self.started
            for contract in self.contracts:
                rows = sum(r.rows for r in reports[contract.table])
                if rows or contract is self.contracts[0]:
                    progress.info(f"{contract.table}: {rows:,} rows in {seconds:.1f} s")
                yield dg.Output(
                    Validated(
                        contract=contract,
                        parts=parts[contract.table],
                        reports=reports[contract.table],
                        weeks=self.weeks if self.partitioned else None,
                        provenance=Provenance(
                            code_version=self.version,
                            run_id=self.context.run_id,
                            seconds=seconds,
                            inputs=inputs,
                        ),
                    ),
                    output_name=output_name(contract),
                    metadata=self.metadata if contract is self.contracts[0] else {},
                )
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)

    def make_chunk(
        self, number: int, chunk: list[date]
    ) -> list[tuple[Contract, ContractReport, pl.DataFrame | Staged]] | RefusedDropsError:
        """Compute some weeks, validate them on their values, and keep them for the write.

        Files that cannot be let in are handed back: those of the other weeks are to be named too.
        """
        try:
            made: list[tuple[Contract, ContractReport, pl.DataFrame | Staged]] = []
            for contract, frame in self.compute(chunk):
                report = validate(frame, contract)
                # What failed is never written.
                kept = self.keep(frame, contract, chunk, number) if report.passed else frame
                made.append((contract, report, kept))
        except RefusedDropsError as refused:
            return refused
        return made

    def compute(self, chunk: list[date]) -> Iterator[tuple[Contract, pl.DataFrame]]:
        if time.perf_counter() - self.said > SECONDS_BETWEEN_PROGRESS:
            done = self.weeks.index(chunk[0])
            progress.info(f"{self.name}: {done} of {len(self.weeks)} weeks")
            self.said = time.perf_counter()
        context = TableContext(
            settings=self.settings,
            lake=self.lake,
            log=self.context.log,
            run_id=self.context.run_id,
            weeks=chunk,
            metadata=self.metadata,
            check_results=self.check_results_of_function,
        )
        frames = self.body.seen_by(chunk, self.frames)
        try:
            made = self.body.function(context, **frames)
        except RefusedDropsError as refused:
            for error in refused.errors:
                self.record_failure(error.weeks or chunk, str(error), self.inputs)
            raise
        tables = made if isinstance(made, Mapping) else {self.name: made}
        for contract in self.contracts:
            frame = tables[contract.table]
            if isinstance(frame, pl.LazyFrame):
                # In-memory took twice the processor time on the feature sets.
                frame = frame.collect(engine="streaming")
            self.require_own_weeks(frame, contract, chunk)
            if not self.partitioned and contract.key:
                # Weekly readers sort what they need; sorting 25 million pairs costs half a minute.
                frame = frame.sort([k for k in contract.key if k in frame.columns])
            yield contract, frame

    def require_own_weeks(self, frame: pl.DataFrame, contract: Contract, chunk: list[date]) -> None:
        column = contract.partition_column
        if not self.partitioned or column is None or column not in frame.columns:
            return
        foreign = set(frame[column].unique().to_list()) - set(chunk)
        if foreign:
            raise dg.DagsterInvariantViolationError(
                f"{contract.table}: asked for {chunk[0]} .. {chunk[-1]}, but the rows also hold "
                f"{column} {sorted(map(str, foreign))[:5]}; filter them in the asset's function"
            )

    def keep(
        self, frame: pl.DataFrame, contract: Contract, chunk: list[date], number: int
    ) -> pl.DataFrame | Staged:
        """Keep a single chunk in memory; stage the chunks of a long range as Parquet."""
        if len(self.weeks) == len(chunk):
            return frame
        return stage(frame, contract, self.staging / contract.table / f"{number:04d}")

    def input_versions(self) -> dict[date | None, dict[str, str]]:
        """Per week, the version of each input's admitted weeks, as they stand now."""
        inputs = self.body.inputs.values()
        return input_versions(
            described={i.asset: i.described() for i in inputs},
            weeks=list(self.weeks) if self.partitioned else [None],
            statuses=partition_status.current(self.lake, [i.asset for i in inputs]),
        )

    def stale_weeks(self) -> list[date]:
        """Of the weeks asked for, those that would not come out as they are.

        The last one if there are none: a run's checks have to see something.
        """
        last = partition_status.current(self.lake, [c.table for c in self.contracts])

        def fresh(table: str, week: date) -> bool:
            status = last.get((table, week))
            return (
                status is not None
                and status.passed
                and status.code_version == self.version
                and status.inputs == self.inputs[week]
            )

        stale = [w for w in self.weeks if not all(fresh(c.table, w) for c in self.contracts)]
        return stale or self.weeks[-1:]

    def check_results(
        self, reports: Mapping[str, Sequence[ContractReport]]
    ) -> Iterator[dg.AssetCheckResult]:
        for contract in self.contracts:
            found = reports[contract.table]
            bad = sorted({week for r in found for week in r.bad_partitions})
            yield dg.AssetCheckResult(
                passed=all(r.passed for r in found),
                check_name=CONTRACT_CHECK,
                asset_key=dg.AssetKey(contract.table.split(".")),
                severity=dg.AssetCheckSeverity.ERROR,
                description="; ".join(str(r) for r in found if not r.passed)[:2000] or None,
                metadata={
                    "rows": sum(r.rows for r in found),
                    "first_week": str(self.weeks[0]) if self.weeks else "all",
                    "last_week": str(self.weeks[-1]) if self.weeks else "all",
                    "bad_weeks": bad,
                },
            )

    def raise_if_failed(
        self,
        reports: Mapping[str, Sequence[ContractReport]],
        inputs: Mapping[date | None, Mapping[str, str]],
    ) -> None:
        failed = [r for found in reports.values() for r in found if not r.passed]
        if not failed:
            return
        bad = {date.fromisoformat(w) for r in failed for w in r.bad_partitions}
        reason = "; ".join(map(str, failed))
        self.record_failure(sorted(bad) or self.weeks, reason, inputs)
        raise dg.Failure(
            description=f"{reason}. Nothing was written. Bad weeks: "
            f"{', '.join(map(str, sorted(bad))) or 'all'}. Mend the input or the function; the "
            "other weeks can be run without them",
            allow_retries=False,
        )

    def record_failure(
        self,
        weeks: Sequence[date],
        reason: str,
        inputs: Mapping[date | None, Mapping[str, str]],
    ) -> None:
        concerned: list[date | None] = [*weeks] or [None]
        # The rows of the last good run still stand, and so do their version and number.
        before = partition_status.current(self.lake, [c.table for c in self.contracts])
        with self.lake.write() as connection:
            partition_status.record(
                connection,
                [
                    PartitionStatus(
                        asset=contract.table,
                        week=week,
                        status="failed",
                        rows=_last(before, contract.table, week)[0],
                        data_version=_last(before, contract.table, week)[1],
                        contract_version=contract.version,
                        code_version=self.version,
                        inputs=inputs.get(week, {}),
                        run_id=self.context.run_id,
                        seconds=time.perf_counter() - self.started,
                        reason=reason[:4000],
                    )
                    for contract in self.contracts
                    for week in concerned
                ],
            )


def _last(
    statuses: Mapping[tuple[str, date | None], PartitionStatus], asset: str, week: date | None
) -> tuple[int, str]:
    last = statuses.get((asset, week))
    return (last.rows, last.data_version) if last else (0, "empty")
