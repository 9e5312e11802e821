"""``python -m liftgraph release ...``: who is released, the steps, where answers come from."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from models.release.ledger import Event
    from resources.release_steps import ReleaseDesk

console = Console(stderr=True, highlight=False)

_reason = click.option("--reason", required=True, help="Why, for whoever asks later.")
_model = click.option("--model", "model_version", help="Model version; default: whose turn it is.")
_force = click.option("--force", "forced", is_flag=True, help="Past the rules; recorded as forced.")


@click.group("release")
def release() -> None:
    """Who is released, and the steps: shadow, canary, promote, rollback."""


@contextmanager
def _desk() -> Iterator[ReleaseDesk]:
    """The ledger of this installation; what it refuses is told without a stack."""
    from models.release.ledger import IllegalTransitionError
    from resources.release_steps import ReleaseDesk
    from resources.settings import get_settings

    try:
        yield ReleaseDesk.of(get_settings().prepare())
    except IllegalTransitionError as error:
        raise click.ClickException(str(error)) from error


def _actor() -> str:
    return f"cli:{getpass.getuser()}"


@release.command()
def status() -> None:
    """Who is live, canary and shadow, and what the judge says of the canary."""
    with _desk() as desk:
        releases = desk.ledger.releases(desk.name)
        table = Table(title="Releases", title_justify="left")
        for heading in ("place", "model", "share", "since", "tag"):
            table.add_column(heading)
        for place in ("live", "canary", "shadow", "previous_live"):
            held = getattr(releases, place)
            if held is not None:
                share = f"{held.percent:g} %" if held.percent else ""
                since = f"{held.since:%Y-%m-%d %H:%M} UTC"
                table.add_row(
                    place.replace("_", " "), held.model_version, share, since, held.model_tag
                )
        Console().print(table)
        verdict = desk.verdict_so_far()
        if verdict is not None:
            click.echo(f"The judge says {verdict.decision} ({verdict.requests}):")
            for reason in verdict.reasons:
                click.echo(f"  {reason}")


@release.command()
@click.option("--json", "as_json", is_flag=True, help="For machines, evidence included.")
def history(*, as_json: bool) -> None:
    """Every event of the ledger, oldest first; checks that none was changed."""
    with _desk() as desk:
        desk.ledger.verify()
        events = desk.ledger.events(desk.name)
    if as_json:
        click.echo(json.dumps([{**vars(e), "at": e.at.isoformat()} for e in events], indent=1))
        return
    table = Table(title="Release history", title_justify="left")
    for heading in ("", "at (UTC)", "model", "state", "actor", "reason"):
        table.add_column(heading)
    for e in events:
        share = f" {e.percent:g} %" if e.percent else ""
        forced = ", forced" if e.forced else ""
        table.add_row(
            str(e.id), f"{e.at:%Y-%m-%d %H:%M:%S}", e.model_version, f"{e.state}{share}{forced}",
            e.actor, e.reason,
        )  # fmt: skip
    Console().print(table)


@release.command()
@_reason
@_model
@_force
def shadow(**given: Any) -> None:
    """Let a candidate score beside the live model, unseen."""
    with _desk() as desk:
        _say(desk, desk.shadow(actor=_actor(), **given))


@release.command()
@click.option("--percent", type=float, help="1, 5, 25, 50 or 100; default: the next step.")
@_reason
@_model
@_force
def canary(**given: Any) -> None:
    """Let the shadow answer a share of the households, or the canary a larger one."""
    with _desk() as desk:
        _say(desk, desk.canary(actor=_actor(), **given))


@release.command()
@_reason
@_model
@_force
def promote(**given: Any) -> None:
    """Make the canary live; refused unless the judge says PROMOTE."""
    with _desk() as desk:
        _say(desk, desk.promote(actor=_actor(), **given))


@release.command()
@_reason
@_model
def rollback(**given: Any) -> None:
    """End the canary or the shadow; --model LIVE: make the one before it live again."""
    with _desk() as desk:
        _say(desk, desk.rollback(actor=_actor(), **given))


@release.command()
@click.argument("decision_id")
def trace(decision_id: str) -> None:
    """From a decision to its model, training data and raw tables, as JSON."""
    from resources.lake import Lake
    from resources.release_lineage import UntraceableError
    from resources.release_lineage import trace as find
    from resources.settings import get_settings

    settings = get_settings().prepare()
    with _desk() as desk:
        try:
            found = find(
                Lake.of(settings),
                desk.ledger.events(desk.name),
                decision_id=decision_id,
                logs=desk.decisions,
            )
        except UntraceableError as error:
            raise click.ClickException(str(error)) from error
    released = [f"{e.at:%Y-%m-%d %H:%M} {e.state}: {e.reason}" for e in found.events]
    said = {"decision": found.rows, "released": released, "raw": found.raw}
    click.echo(json.dumps(said, indent=1, default=str))


@release.command()
@click.argument("snapshot", type=int)
@click.option("--and-later", is_flag=True, help="Also decisions that rest on later snapshots.")
@click.option("--json", "as_json", is_flag=True, help="Every decision, for machines.")
def touched(*, snapshot: int, and_later: bool, as_json: bool) -> None:
    """Every decision that lake SNAPSHOT reached, by its model or by its features."""
    from resources.lake import Lake
    from resources.release_lineage import UntraceableError
    from resources.release_lineage import touched as find
    from resources.settings import get_settings

    settings = get_settings().prepare()
    with _desk() as desk:
        try:
            found = find(
                Lake.of(settings),
                desk.ledger.events(desk.name),
                snapshot=snapshot,
                and_later=and_later,
            )
        except UntraceableError as error:
            raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(found.to_dicts(), indent=1, default=str))
        return
    table = Table(title=f"Decisions touched by snapshot {snapshot}", title_justify="left")
    for heading in ("model", "trained on", "features from", "decisions", "households"):
        table.add_column(heading)
    groups = found.group_by("model_version", "trained_on", "data_snapshot", maintain_order=True)
    for (version, trained_on, features), rows in groups:
        table.add_row(
            str(version), str(trained_on), str(features), f"{rows.height:,}",
            f"{rows['household_id'].n_unique():,}",
        )  # fmt: skip
    Console().print(table)


@release.command()
@click.option(
    "--gate",
    "gates",
    multiple=True,
    required=True,
    metavar="NAME=VALUE",
    help="The gate's new threshold; may be repeated.",
)
def backtest(gates: tuple[str, ...]) -> None:
    """Which past releases another gate would have decided otherwise; changes nothing."""
    from checks.gates.directions import SIDES
    from models.release.gate_backtest import replay, summary
    from resources.gate_history import past_judgements
    from resources.settings import get_settings

    try:
        changed = {name: float(value) for name, value in (g.split("=", 1) for g in gates)}
    except ValueError as error:
        raise click.BadParameter(f"{gates}: give NAME=VALUE, candidate_recall=0.35") from error
    with _desk() as desk:
        past = past_judgements(get_settings(), desk.ledger.events(desk.name))
    try:
        replays = replay(past, changed=changed, sides=SIDES)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    table = Table(title="Past decisions under the changed gates", title_justify="left")
    for heading in ("judged at (UTC)", "model", "then", "now", "it became", "because"):
        table.add_column(heading)
    for r in replays:
        because = "; ".join(r.because) or (f"{', '.join(r.unknown)} not recorded" * bool(r.unknown))
        passes = ["passed" if x else "stopped" for x in (r.then, r.now)]
        table.add_row(
            f"{r.judged.at:%Y-%m-%d %H:%M}", r.judged.model_version, *passes,
            r.judged.became or "not entered", because,
        )  # fmt: skip
    Console().print(table)
    click.echo(summary(replays))


def _say(desk: ReleaseDesk, events: list[Event]) -> None:
    for event in events:
        share = f" at {event.percent:g} %" if event.percent else ""
        forced = " (forced)" if event.forced else ""
        click.echo(f"event {event.id}: {event.model_version} is {event.state}{share}{forced}")
    click.echo(f"Now: {desk.ledger.releases(desk.name).in_words()}")
