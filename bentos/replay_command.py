"""``python -m liftgraph replay``: logged decisions again, and what differs."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime

import click

_SAYS = {
    "same": "the same to the bit",
    "differs": "DIFFERS",
    "missing": "cannot be replayed",
    "nothing": "nothing to replay",
}


@click.command()
@click.argument("request_id", required=False)
@click.option(
    "--all-of",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Every decision of this day (of the business) instead of one.",
)
def replay(*, request_id: str | None, day: datetime | None) -> None:
    """Score the decision REQUEST_ID again from its snapshot and model; say what differs."""
    if (request_id is None) == (day is None):
        raise click.UsageError("name a request, or a day with --all-of")
    from resources.settings import get_settings

    # Says where BentoML's stores are, before it is imported.
    settings = get_settings().prepare()
    from bentos.ranker_model import load_ranker
    from bentos.replay import Replay
    from resources.decision_history import decision, decisions_of
    from resources.lake import Lake

    lake = Lake.of(settings)
    if day is not None:
        rows = decisions_of(settings, lake, day.date())
    else:
        rows = decision(settings, lake, request_id or "")
    if rows.is_empty():
        what = f"of {day:%Y-%m-%d}" if day else request_id
        sys.exit(f"no decision {what} is in {settings.decisions_dir} nor in the lake")
    counts: Counter[str] = Counter()
    scores = 0
    replayer = Replay(settings.online_dir, load_model=load_ranker)
    for done in replayer.all(rows.iter_rows(named=True)):
        counts[done.outcome] += 1
        scores += done.scores
        if day is None or done.outcome in {"differs", "missing"}:
            click.echo(f"{done.request_id} {done.kind}: {_SAYS[done.outcome]}")
            for said in done.said:
                click.echo(f"    {said}")
    told = ", ".join(f"{counts[outcome]} {says}" for outcome, says in _SAYS.items())
    click.echo(f"{rows.height} decision(s), {scores:,} scores compared: {told}")
    sys.exit(1 if counts["differs"] or counts["missing"] else 0)
