"""Taking a release step: the same for the command line, Dagster's jobs and the service.

Each resolves whom it is about, gathers the evidence, and appends to the ledger, which has the last
word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from models.release.figures import COLUMNS, arm_figures
from models.release.judge import JudgeSettings, Verdict, judge
from models.release.ledger import Event, IllegalTransitionError, Release, Releases
from models.release.transitions import next_percent
from models.release.windows import comparable_windows
from resources.judge_settings import judge_settings
from resources.logged_decisions import logged_decisions
from resources.release_ledger import ReleaseLedger
from resources.settings import Settings

# The only model family with a ledger of its own.
RANKER = "offer_ranker"


@dataclass(frozen=True)
class ReleaseDesk:
    """Where release steps are taken.

    Attributes:
        ledger: Of all releases.
        decisions: Folder of the decision log.
        name: Of the model family.
        settings: Of the judge.
    """

    ledger: ReleaseLedger
    decisions: Path
    name: str = RANKER
    settings: JudgeSettings = field(default_factory=judge_settings)

    @classmethod
    def of(cls, settings: Settings) -> ReleaseDesk:
        return cls(ledger=ReleaseLedger(settings.ledger_url), decisions=settings.home / "decisions")

    def shadow(
        self,
        *,
        actor: str,
        reason: str,
        model_version: str | None = None,
        forced: bool = False,
        evidence: Mapping[str, Any] | None = None,
    ) -> list[Event]:
        """Let a candidate score in the shadow; by default the newest candidate.

        A model that was in the shadow retires: the newer one takes its place. The last of the
        events is of the model that moved, here and below.
        """
        events = self.ledger.events(self.name)
        releases = self.ledger.releases(self.name)
        chosen = _chosen(events, releases, model_version, default=newest(events, releases))
        return self.ledger.take(
            name=self.name,
            model_version=chosen.model_version,
            model_tag=chosen.model_tag,
            to="shadow",
            actor=actor,
            reason=reason,
            forced=forced,
            evidence=evidence or {},
            replaces=True,
        )

    def canary(
        self,
        *,
        actor: str,
        reason: str,
        percent: float | None = None,
        model_version: str | None = None,
        forced: bool = False,
    ) -> list[Event]:
        """Let the shadow answer a share, or the canary a larger one; by default the next step.

        What the judge says so far goes into the evidence. A canary that does harm does not grow.
        """
        events = self.ledger.events(self.name)
        releases = self.ledger.releases(self.name)
        chosen = _chosen(
            events, releases, model_version, default=releases.canary or releases.shadow
        )
        growing = releases.canary is not None and _same(releases.canary, chosen)
        evidence: dict[str, Any] = {}
        if growing:
            verdict = self.verdict_so_far(events)
            evidence = verdict.evidence() if verdict else {}
            if verdict is not None and verdict.decision == "ROLLBACK" and not forced:
                raise IllegalTransitionError(
                    f"the canary does not grow, the judge says ROLLBACK: "
                    f"{'; '.join(verdict.reasons)}. Roll it back (`release rollback`), or force it "
                    "with a reason"
                )
        now = releases.canary.percent if growing and releases.canary else None
        return self.ledger.take(
            name=self.name,
            model_version=chosen.model_version,
            model_tag=chosen.model_tag,
            to="canary",
            percent=percent if percent is not None else next_percent(now),
            actor=actor,
            reason=reason,
            forced=forced,
            evidence=evidence,
        )

    def promote(
        self,
        *,
        actor: str,
        reason: str,
        model_version: str | None = None,
        forced: bool = False,
    ) -> list[Event]:
        """Make the canary live, if the judge says PROMOTE or somebody forces it.

        Raises:
            IllegalTransitionError: There is no canary, or the judge does not say PROMOTE.
        """
        events = self.ledger.events(self.name)
        releases = self.ledger.releases(self.name)
        chosen = _chosen(events, releases, model_version, default=releases.canary)
        is_canary = releases.canary is not None and _same(releases.canary, chosen)
        verdict = self.verdict_so_far(events) if is_canary else None
        if verdict is not None and verdict.decision != "PROMOTE" and not forced:
            raise IllegalTransitionError(
                f"model {chosen.model_version} stays a canary, the judge says {verdict.decision}: "
                f"{'; '.join(verdict.reasons)}. Wait, grow it (`release canary`), roll it back, or "
                f"force it with a reason. Now: {releases.in_words()}"
            )
        return self.ledger.take(
            name=self.name,
            model_version=chosen.model_version,
            model_tag=chosen.model_tag,
            to="live",
            actor=actor,
            reason=reason,
            forced=forced,
            evidence=verdict.evidence() if verdict else {},
            # The verdict is about this canary at this share.
            seen=releases.head,
        )

    def rollback(
        self,
        *,
        actor: str,
        reason: str,
        model_version: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> list[Event]:
        """End a canary or shadow, or make the model before a named live one live again."""
        return self.ledger.rollback(
            name=self.name,
            actor=actor,
            reason=reason,
            model_version=model_version,
            evidence=evidence or {},
        )

    def verdict_so_far(self, events: list[Event] | None = None) -> Verdict | None:
        """As ``verdict``; ``None`` without a canary, or with one that never had a baseline."""
        known = events if events is not None else self.ledger.events(self.name)
        return self.verdict(known) if comparable_windows(known) else None

    def verdict(self, events: list[Event] | None = None) -> Verdict:
        """What the judge says of the canary now, from the decisions logged since it began.

        Raises:
            IllegalTransitionError: There is no canary.
        """
        windows = comparable_windows(events or self.ledger.events(self.name))
        if not windows:
            raise IllegalTransitionError(
                "there is no canary to judge, or it never had a baseline; begin one "
                "(`release canary`)"
            )
        decisions = logged_decisions(self.decisions, columns=COLUMNS, since=windows[0][0])
        within = pl.any_horizontal(
            (pl.col("decided_at") >= first)
            & (pl.lit(value=True) if last is None else pl.col("decided_at") < last)
            for first, last in windows
        )
        compared = decisions.filter((pl.col("kind") == "decision") & within)
        return judge(
            arm_figures(compared, "canary"), arm_figures(compared, "baseline"), self.settings
        )


def newest(events: Iterable[Event], releases: Releases) -> Release | None:
    """The candidate that entered last and still is one."""
    candidates = [
        e
        for e in events
        if e.state == "candidate" and releases.state_of(e.model_version) == "candidate"
    ]
    return _release(candidates[-1]) if candidates else None


def _chosen(
    events: Iterable[Event],
    releases: Releases,
    model_version: str | None,
    *,
    default: Release | None,
) -> Release:
    if model_version is None:
        if default is None:
            raise IllegalTransitionError(
                f"no model stands ready for this step. Now: {releases.in_words()}"
            )
        return default
    known = [e for e in events if e.model_version == model_version]
    if not known:
        raise IllegalTransitionError(
            f"model {model_version} is not in the ledger; materialise release.candidate, or look "
            f"for its version (`release history`). Now: {releases.in_words()}"
        )
    return _release(known[-1])


def _release(event: Event) -> Release:
    return Release(
        model_version=event.model_version,
        model_tag=event.model_tag,
        percent=event.percent,
        since=event.at,
        event=event.id,
    )


def _same(one: Release, other: Release) -> bool:
    return one.model_version == other.model_version
