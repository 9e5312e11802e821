"""The command line: ``python -m liftgraph --help``."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, NoReturn

import click
from rich.console import Console
from rich.table import Table

from assets.release.commands import release
from bentos.keys_command import keys
from bentos.replay_command import replay

if TYPE_CHECKING:
    from assets.governance.runner import Outcome

TUNED = "models.offer_ranker"

console = Console(stderr=True, highlight=False)


class _Elapsed(logging.Handler):
    """Progress lines with the seconds since the start."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.started = time.perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        seconds = time.perf_counter() - self.started
        style = "bold red" if record.levelno >= logging.ERROR else ""
        console.print(f"[dim]{seconds:6.1f} s[/dim]  ", end="")
        console.print(record.getMessage(), style=style, markup=False)


def show_progress() -> None:
    """Print progress lines; keep the libraries' own chatter to warnings."""
    logger = logging.getLogger("liftgraph.progress")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not any(isinstance(h, _Elapsed) for h in logger.handlers):
        logger.addHandler(_Elapsed())
    logging.getLogger("dagster").setLevel(logging.CRITICAL)


@contextmanager
def graph() -> Iterator[tuple]:
    """Settings, lake, definitions and instance of this installation."""
    import dagster as dg

    from definitions import defs
    from resources.lake import Lake
    from resources.settings import get_settings

    settings = get_settings().prepare()
    with dg.DagsterInstance.get() as instance:
        yield settings, Lake.of(settings), defs, instance


@click.group(help=__doc__)
def main() -> None:
    """Entry point."""


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For machines, to standard output.")
@click.option("--all", "everything", is_flag=True, help="Every partition, not one line per asset.")
def plan(*, as_json: bool, everything: bool) -> None:
    """Say what would be re-materialised and why; run nothing."""
    from assets.governance.graph import current_plan
    from assets.governance.plan import Entry

    with graph() as (settings, lake, defs, _):
        found = current_plan(defs, settings=settings, lake=lake)
    if as_json:
        listed = [e.__dict__ | {"week": str(e.week) if e.week else None} for e in found.entries]
        click.echo(json.dumps(listed, indent=1))
        return
    if not found.entries:
        console.print("Everything is up to date.")
        return
    table = Table(title="What would be re-materialised", title_justify="left")
    for heading in ("asset", "weeks", "", "why", "rows", "seconds"):
        table.add_column(
            heading,
            justify="right" if heading in {"rows", "seconds"} else "left",
            no_wrap=heading == "asset",
        )
    groups: dict[tuple, list[Entry]] = {}
    for e in found.entries:
        groups.setdefault((e.asset, e.certainty, e.week if everything else e.why), []).append(e)
    for (asset, certainty, _), entries in groups.items():
        rows = [e.rows for e in entries if e.rows is not None]
        seconds = [e.seconds for e in entries if e.seconds is not None]
        table.add_row(
            asset,
            _weeks([e.week for e in entries]),
            {"stale": "will run", "maybe": "may run", "blocked": "blocked"}[certainty],
            entries[0].why,
            f"{sum(rows):,}" if rows else "?",
            f"{sum(seconds):.1f}" if seconds else "?",
        )
    console.print(table)
    counts = Counter(e.certainty for e in found.entries)
    models = sorted({e.asset for e in found.entries if e.asset.startswith("models.")})
    total = sum((e.seconds or 0.0) for e in found.of("stale"))
    console.print(
        f"{counts['stale']} partition(s) will run (about {total:.0f} s where known), "
        f"{counts['maybe']} may run if their inputs change, {counts['blocked']} blocked. "
        f"Models downstream: {', '.join(models) or 'none'}."
    )
    console.print("Run it with `make run`, or pick assets in the UI with `make dev`.")


def _weeks(weeks: list[date | None]) -> str:
    from models.calendar import week_ranges

    dated = [w for w in weeks if w is not None]
    if not dated:
        return "-"
    ranges = week_ranges(dated)
    text = ", ".join(str(a) if a == b else f"{a} .. {b}" for a, b in ranges[:3])
    return text + (f" and {len(ranges) - 3} more" if len(ranges) > 3 else "")  # noqa: PLR2004


@main.command()
@click.argument("assets", nargs=-1)
def run(assets: tuple[str, ...]) -> None:
    """Materialise what is stale; if given, only ASSETS (schema.name) and their inputs."""
    from assets.governance.runner import UnknownAssetError, bring_up_to_date

    show_progress()
    with graph() as (settings, lake, defs, instance):
        try:
            outcome = bring_up_to_date(
                defs, settings=settings, lake=lake, instance=instance, only=assets or None
            )
        except UnknownAssetError as error:
            raise click.BadParameter(str(error), param_hint="ASSETS") from error
    if not outcome.ran:
        console.print("Everything is up to date.")
    _finish(outcome)


@main.command()
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Trials per model family; those of earlier searches count.",
)
def tune(*, trials: int) -> None:
    """Search further for the offer ranker's parameters, train it anew, run what follows.

    A search that was stopped goes on where it was.
    """
    # Before anything reads the settings.
    os.environ["LIFTGRAPH_TRIALS"] = str(trials)
    from assets.governance.plan import Batch
    from assets.governance.runner import bring_up_to_date, run_batch

    show_progress()
    with graph() as (settings, lake, defs, instance):
        outcome = bring_up_to_date(defs, settings=settings, lake=lake, instance=instance)
        trained = any(TUNED in ran.batch.assets for ran in outcome.ran)
        if not trained and outcome.success:
            batch = Batch((TUNED,), None)
            outcome.ran.append(run_batch(defs, batch, settings=settings, instance=instance))
            after = bring_up_to_date(defs, settings=settings, lake=lake, instance=instance)
            outcome.ran += after.ran
            outcome.plan = after.plan
    _finish(outcome)


def _finish(outcome: Outcome) -> NoReturn:
    """Say what failed and what is blocked, and end with a status that says so."""
    failed = [r for r in outcome.ran if not r.success]
    for ran in failed:
        for error in ran.errors:
            console.print(f"failed: {error}", style="red", markup=False)
    blocked = outcome.plan.of("blocked") if outcome.plan else []
    if blocked:
        console.print(f"{len(blocked)} partition(s) are blocked; `make plan` says by what.")
    sys.exit(1 if failed or blocked else 0)


@main.command("has-bento")
def has_bento() -> None:
    """Succeed if a service was packaged; `make serve` asks first."""
    from resources import partition_status
    from resources.lake import Lake
    from resources.settings import get_settings

    settings = get_settings().prepare()
    packaged = partition_status.current(Lake.of(settings), ["serving.bento"])
    sys.exit(0 if any(s.passed for s in packaged.values()) else 1)


@main.command("graph")
@click.option("--write", "target", type=click.Path(dir_okay=False), help="File to write.")
def show_graph(*, target: str | None) -> None:
    """Print the graph as JSON: keys, inputs, weeks, checks, owners; for review."""
    from pathlib import Path

    from assets.governance.graph import graph_snapshot
    from definitions import defs

    text = json.dumps(graph_snapshot(defs), indent=1, sort_keys=True) + "\n"
    if target:
        Path(target).write_text(text, encoding="utf-8")
        console.print(f"{target} written; review the difference before you commit it.")
    else:
        click.echo(text, nl=False)


@main.command("contracts")
@click.argument("folder", type=click.Path(file_okay=False))
def export_contracts(*, folder: str) -> None:
    """Export every contract as ODCS YAML to FOLDER."""
    from pathlib import Path

    from checks.contracts.odcs import to_odcs
    from checks.contracts.registry import CONTRACTS

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for contract in CONTRACTS.values():
        (place / f"{contract.table}.yaml").write_text(to_odcs(contract), encoding="utf-8")
    console.print(f"{len(CONTRACTS)} contracts written to {place}.")


@main.command()
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--scale", default=1.0, show_default=True, help="Size in bundled years.")
@click.option("--weeks", default=53, show_default=True, help="How many weeks.")
@click.option("--products", default=12_000, show_default=True, help="How many the chain sells.")
@click.option("--seed", default=20170101, show_default=True, help="Of the market.")
def simulate(*, folder: str, scale: float, weeks: int, products: int, seed: int) -> None:
    """Write the weekly drops of a simulated chain to FOLDER, to try sizes and settings on.

    Land them with LIFTGRAPH_SOURCE=own, LIFTGRAPH_LANDING=FOLDER and, for fewer weeks than 53,
    LIFTGRAPH_LAST_WEEK.
    """
    from pathlib import Path

    from resources.sources.simulated import write_drops

    files = [f for f in Path(folder).rglob("*") if f.is_file()]
    others = [f for f in files if not f.name.lstrip(".").startswith("simulated-")]
    if others:
        raise click.ClickException(
            f"{folder} holds other files, such as {others[0].relative_to(folder)}: drops of two "
            "chains would mix; name another folder"
        )
    try:
        rows = write_drops(
            Path(folder),
            scale=scale,
            weeks=weeks,
            seed=seed,
            products=products,
            on_stores=lambda done, of: console.print(f"{done:,} of {of:,} stores"),
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    for table, count in sorted(rows.items()):
        console.print(f"{table}: {count:,} rows")


@main.command()
def reap() -> None:
    """Fail runs whose process is gone, so that they do not hold the queue."""
    from datetime import timedelta

    from resources import run_reaper

    with graph() as (settings, _, _, instance):
        reaped = run_reaper.reap(instance, settings, grace=timedelta(0))
    console.print(f"{len(reaped)} dead run(s) failed.")


@main.command()
@click.argument("table")
@click.option("--week", type=click.DateTime(["%Y-%m-%d"]), help="Only this week's rows.")
@click.option("--most", default=20, show_default=True, help="Rows to show.")
def quarantine(*, table: str, week, most: int) -> None:
    """Show what was set aside of TABLE (e.g. basket_lines), rows decrypted, to mend and resend."""
    from checks.contracts.quarantine import QUARANTINE
    from resources.lake import Lake
    from resources.secrets import quarantine_cipher
    from resources.settings import get_settings

    settings = get_settings().prepare()
    if f"raw.{table}" not in QUARANTINE:
        known = ", ".join(sorted(t.removeprefix("raw.") for t in QUARANTINE))
        raise click.BadParameter(f"no table {table!r}; there are {known}")
    day = week.date() if week else None
    rows = (
        Lake.of(settings)
        .scan(QUARANTINE[f"raw.{table}"], first=day, last=day)
        .sort("week_start", "file", "row")
        .collect()
    )
    cipher = quarantine_cipher(settings)
    for row in rows.head(most).iter_rows(named=True):
        sent = cipher.decrypt(row["payload"].encode()).decode() if row["payload"] else ""
        click.echo(f"{row['file']} row {row['row']} [{row['kind']}] {row['reason']}\n    {sent}")
    console.print(
        f"{rows.height:,} row(s) set aside" + (", the first shown" if rows.height > most else "")
    )


main.add_command(keys)
main.add_command(release)


main.add_command(replay)


if __name__ == "__main__":
    main()
