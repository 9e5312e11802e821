"""The factory behind every Python table asset: compute, validate, report, then write.

An asset function gets a ``TableContext`` and lazy frames, and returns a frame (or one per table).
The factory runs it chunk by chunk of weeks, validates each chunk on its values, stages what
passed, reports the blocking contract check, and only then hands the rows to the I/O manager. A
failure writes nothing but the failed weeks' health.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.governance.code_version import code_version
from assets.partitions import WEEKLY, WeekWindow, as_weeks, calendar
from checks.contracts.contract import Contract, ContractReport, validate
from checks.drops import DropError, RefusedDropsError
from resources import partition_status, run_reaper
from resources.lake import Lake, stage
from resources.lake_io import Provenance, Validated
from resources.partition_status import PartitionStatus
from resources.settings import Settings

progress = logging.getLogger("liftgraph.progress")

# Metadata keys that the plan reads from the graph.
INPUTS_KEY = "liftgraph/inputs"
CODE_KEY = "liftgraph/code_version"
KIND_KEY = "liftgraph/kind"
SINCE_KEY = "liftgraph/since"

CONTRACT_CHECK = "contract"
# Tag of a run that leaves alone the weeks whose code and inputs are those of their last good run.
ONLY_STALE_TAG = "liftgraph/only_stale"

# Often enough to see that it lives.
SECONDS_BETWEEN_PROGRESS = 5.0


@dataclass(frozen=True)
class FixedWeeks:
    """The same weeks whatever is asked: how an asset without weeks reads a weekly one."""

    first: date
    last: date

    @property
    def mapping(self) -> dg.SpecificPartitionsPartitionMapping:
        return dg.SpecificPartitionsPartitionMapping(
            [w.isoformat() for w in calendar() if self.first <= w <= self.last]
        )

    def admits(self, _week: date | None, weeks: Sequence[date]) -> list[date]:
        return [w for w in weeks if self.first <= w <= self.last]


@dataclass(frozen=True)
class Input:
    """One upstream asset: its key and the weeks of it that may be seen.

    Attributes:
        asset: ``schema.name``.
        weeks: Window of weeks; ``None`` where the input has no weeks, or all are meant.
        load: Whether its rows are handed to the function.
    """

    asset: str
    weeks: WeekWindow | FixedWeeks | None = None
    load: bool = True

    @property
    def key(self) -> dg.AssetKey:
        return dg.AssetKey(self.asset.split("."))

    def described(self) -> dict[str, Any]:
        if isinstance(self.weeks, WeekWindow):
            return {"start": self.weeks.start, "end": self.weeks.end}
        if isinstance(self.weeks, FixedWeeks):
            return {"first": self.weeks.first.isoformat(), "last": self.weeks.last.isoformat()}
        return {}

    def admits(self, week: date | None, weeks: Sequence[date]) -> list[date | None]:
        """Weeks of the input that ``week`` is made from."""
        return admitted(self.described(), week, weeks)


def admitted(
    described: Mapping[str, Any], week: date | None, weeks: Sequence[date]
) -> list[date | None]:
    """Weeks of an input, from its description in the graph's metadata."""
    if "start" in described and week is not None:
        return list(WeekWindow(described["start"], described["end"]).admits(week, weeks))
    if "first" in described:
        first, last = map(date.fromisoformat, (described["first"], described["last"]))
        return list(FixedWeeks(first, last).admits(week, weeks))
    return [None, *weeks]


@dataclass
class TableContext:
    """What an asset function may use besides its frames."""

    settings: Settings
    lake: Lake
    log: logging.Logger
    run_id: str
    weeks: list[date]
    metadata: dict[str, Any] = field(default_factory=dict)
    check_results: list[dg.AssetCheckResult] = field(default_factory=list)


Frame = pl.DataFrame | pl.LazyFrame
Frames = Mapping[str, pl.LazyFrame]
TableFunction = Callable[..., Frame | Mapping[str, Frame]]


@dataclass(frozen=True)
class Body:
    """An asset's own part, without Dagster: what the benchmark of the graph calls bare.

    Attributes:
        function: Gets a context and its inputs' lazy frames.
        contracts: Of the tables it makes; none for an artifact.
        hold: Turns the inputs into what all chunks share, which is then computed once.
    """

    function: Callable[..., Any]
    inputs: Mapping[str, Input]
    partitioned: bool
    contracts: Sequence[Contract] = ()
    weeks_per_chunk: int | None = None
    parallel_chunks: int = 1
    since: date | None = None
    hold: Callable[[Frames], Frames] | None = None

    def chunks(self, weeks: Sequence[date]) -> list[list[date]]:
        """The weeks that one call makes, oldest first; one empty chunk where there are none."""
        if not self.partitioned:
            return [[]]
        size = self.weeks_per_chunk or max(len(weeks), 1)
        return [list(weeks[i : i + size]) for i in range(0, len(weeks), size)]

    def held(self, frames: Frames) -> Frames:
        """The inputs as all chunks read them."""
        if self.hold is None:
            return frames
        lazy = self.hold(frames)
        held = pl.collect_all([*lazy.values()], engine="streaming")
        return {name: frame.lazy() for name, frame in zip(lazy, held, strict=True)}

    def seen_by(self, chunk: Sequence[date], frames: Frames) -> Frames:
        """Of the inputs of a whole range, the weeks that one chunk may see."""
        return {name: self._window(name, frame, chunk) for name, frame in frames.items()}

    def _window(self, name: str, frame: pl.LazyFrame, chunk: Sequence[date]) -> pl.LazyFrame:
        weeks = self.inputs[name].weeks
        if not chunk or not isinstance(weeks, WeekWindow):
            return frame
        from checks.contracts.registry import contract_of

        column = contract_of(self.inputs[name].asset).partition_column
        if column is None:
            return frame
        first, last = weeks.bounds(chunk)
        return frame.filter(pl.col(column).is_between(first, last))


# By the asset's name, in the order of definition.
BODIES: dict[str, Body] = {}


def lake_asset(
    *contracts: Contract,
    inputs: Mapping[str, Input] | None = None,
    group: str,
    kinds: set[str],
    weeks_per_chunk: int | None = None,
    parallel_chunks: int = 1,
    hold: Callable[[Frames], Frames] | None = None,
    partitioned: bool = True,
    automation: dg.AutomationCondition | None = None,
    since: date | None = None,
    reports: Sequence[dg.AssetCheckSpec] = (),
    depends_on: Sequence[str] = (),
) -> Callable[[TableFunction], dg.AssetsDefinition]:
    """Make a table asset of a function, with its contract as a blocking check.

    Args:
        *contracts: Of the tables it makes; with several, the function returns a mapping by table.
        inputs: Argument name to input.
        group: Group in the graph.
        kinds: Badges in the UI.
        weeks_per_chunk: Weeks computed and validated at a time; bounds memory over a range.
        parallel_chunks: Chunks made at the same time; more memory, both cores busy. Only for
            functions that write nothing into their context.
        hold: From all inputs to what every chunk reads of them, computed once and kept in memory:
            for inputs that each week's query would otherwise read again. Keeps the columns that
            tell weeks apart.
        partitioned: Weekly, or replaced whole.
        automation: When Dagster may run it by itself.
        since: First week that is kept, where not the calendar's first.
        reports: Further checks, whose results the function appends to ``context.check_results``.
        depends_on: Settings the rows depend on: another value makes every week stale.
    """
    inputs = dict(inputs or {})

    def decorate(function: TableFunction) -> dg.AssetsDefinition:
        holding = [code_version(hold)] if hold else []
        version = code_version(
            function, extra=[*map(_fingerprint, contracts), *depends_on, *holding]
        )
        described = {i.asset: i.described() for i in inputs.values()}
        body = BODIES[contracts[0].table] = Body(
            function=function,
            inputs=inputs,
            partitioned=partitioned,
            contracts=contracts,
            weeks_per_chunk=weeks_per_chunk,
            parallel_chunks=parallel_chunks,
            since=since,
            hold=hold,
        )

        @dg.multi_asset(
            name="__".join(contracts[0].table.split(".")),
            outs={
                _out(c): dg.AssetOut(
                    key=dg.AssetKey(c.table.split(".")),
                    description=c.description,
                    group_name=group,
                    kinds=kinds,
                    owners=[c.owner],
                    code_version=version,
                    io_manager_key="lake_io",
                    automation_condition=automation,
                    metadata=contract_metadata(c)
                    | graph_metadata(inputs=described, version=version, kind="table", since=since),
                )
                for c in contracts
            },
            ins={
                name: dg.AssetIn(
                    key=i.key,
                    partition_mapping=i.weeks.mapping if i.weeks else None,
                    input_manager_key="lake_io",
                )
                for name, i in inputs.items()
                if i.load
            },
            deps=[_dep(i) for i in inputs.values() if not i.load],
            check_specs=[
                dg.AssetCheckSpec(
                    name=CONTRACT_CHECK,
                    asset=dg.AssetKey(c.table.split(".")),
                    blocking=True,
                    description=f"Every row satisfies the contract of {c.table}, version "
                    f"{c.version}.",
                )
                for c in contracts
            ]
            + list(reports),
            partitions_def=WEEKLY if partitioned else None,
            backfill_policy=dg.BackfillPolicy.single_run() if partitioned else None,
            required_resource_keys={"lake", "settings"},
            op_tags={"liftgraph/group": group},
        )
        def compute(context: dg.AssetExecutionContext, **frames: pl.LazyFrame) -> Iterator[Any]:
            yield from _Run(context=context, body=body, frames=frames, version=version).results()

        return compute

    return decorate


def graph_metadata(
    *, inputs: Mapping[str, Any], version: str, kind: str, since: date | None = None
) -> dict[str, Any]:
    """What the plan reads of an asset (``assets.governance.graph``)."""
    metadata = {INPUTS_KEY: dict(inputs), CODE_KEY: version, KIND_KEY: kind}
    return metadata | ({SINCE_KEY: since.isoformat()} if since else {})


def _dep(i: Input) -> dg.AssetDep:
    return dg.AssetDep(i.key, partition_mapping=i.weeks.mapping if i.weeks else None)


def _out(contract: Contract) -> str:
    return contract.table.replace(".", "__")


def _fingerprint(contract: Contract) -> str:
    text = repr([(c.name, str(c.dtype), c.nullable, c.constraints) for c in contract.columns])
    text += repr([(c.name, c.error) for c in contract.schema.checks])
    return hashlib.sha256(f"{text}{contract.key}{contract.version}".encode()).hexdigest()


def contract_metadata(contract: Contract) -> dict[str, Any]:
    """Column schema and table facts of a contract, as the UI shows them."""
    columns = [
        dg.TableColumn(
            name=c.name,
            type=str(c.dtype),
            description=c.description + (f" [{c.unit}]" if c.unit else ""),
            constraints=dg.TableColumnConstraints(
                nullable=c.nullable,
                unique=contract.key == (c.name,),
                other=[*c.constraints, f"privacy: {c.privacy}"],
            ),
        )
        for c in contract.columns
    ]
    metadata: dict[str, Any] = {
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "dagster/table_name": f"lake.{contract.table}",
        "contract_version": contract.version,
    }
    if contract.partition_column:
        metadata["partition_expr"] = contract.partition_column
    if contract.freshness_days:
        metadata["freshness_days"] = contract.freshness_days
    return metadata


@dataclass
class _Run:
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
        parts: dict[str, list[pl.DataFrame | Path]] = {c.table: [] for c in self.contracts}
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
                    _say(f"{contract.table}: {rows:,} rows in {seconds:.1f} s")
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
                    output_name=_out(contract),
                    metadata=self.metadata if contract is self.contracts[0] else {},
                )
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)

    def make_chunk(
        self, number: int, chunk: list[date]
    ) -> list[tuple[Contract, ContractReport, pl.DataFrame | Path]] | RefusedDropsError:
        """Compute some weeks, validate them on their values, and keep them for the write.

        Files that cannot be let in are handed back: those of the other weeks are to be named too.
        """
        try:
            return [
                (contract, validate(frame, contract), self.keep(frame, contract, chunk, number))
                for contract, frame in self.compute(chunk)
            ]
        except RefusedDropsError as refused:
            return refused

    def compute(self, chunk: list[date]) -> Iterator[tuple[Contract, pl.DataFrame]]:
        if time.perf_counter() - self.said > SECONDS_BETWEEN_PROGRESS:
            done = self.weeks.index(chunk[0])
            _say(f"{self.name}: {done} of {len(self.weeks)} weeks")
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
    ) -> pl.DataFrame | Path:
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


def input_versions(
    *,
    described: Mapping[str, Mapping[str, Any]],
    weeks: Sequence[date | None],
    statuses: Mapping[tuple[str, date | None], PartitionStatus],
) -> dict[date | None, dict[str, str]]:
    """Per week, one version for each input: a hash over the weeks it is made from."""
    all_weeks = calendar()
    versions: dict[date | None, dict[str, str]] = {}
    for week in weeks:
        versions[week] = {}
        for asset, window in described.items():
            seen = [
                f"{w}={statuses[asset, w].data_version}"
                for w in admitted(window, week, all_weeks)
                if (asset, w) in statuses and statuses[asset, w].data_version != "empty"
            ]
            versions[week][asset] = hashlib.sha256("|".join(seen).encode()).hexdigest()[:12]
    return versions


def _say(message: str) -> None:
    progress.info(message)
