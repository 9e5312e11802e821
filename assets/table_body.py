"""An asset's own part, without Dagster: its function, what it gets, and how weeks are cut."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets.partitions import WeekWindow
from assets.table_inputs import Input
from checks.contracts.contract import Contract
from resources.lake import Lake
from resources.settings import Settings


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
