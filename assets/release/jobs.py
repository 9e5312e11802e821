"""Jobs that take a release step from Dagster, and the sensor that keeps MLflow in step."""

from typing import Any

import dagster as dg

from assets.training.offer_ranker import NAME
from resources.release_aliases import follow_ledger
from resources.release_steps import ReleaseDesk

_WHY = dg.Field(str, description="Why, for whoever asks later")
_WHICH = dg.Field(
    dg.Noneable(str), default_value=None, description="Model version; default: the one whose turn"
)
_FORCE = dg.Field(bool, default_value=False, description="Past the rules; recorded as forced")


def _job(step: str, *, description: str, **fields: Any) -> dg.JobDefinition:
    @dg.op(
        name=f"take_{step}_step",
        description=description,
        config_schema={"reason": _WHY, "model_version": _WHICH, **fields},
        required_resource_keys={"settings"},
    )
    def take(context: dg.OpExecutionContext) -> None:
        settings = context.resources.settings
        desk = ReleaseDesk.of(settings)
        events = getattr(desk, step)(actor=f"dagster:{step}", **context.op_config)
        releases = desk.ledger.releases(desk.name)
        aliases = follow_ledger(settings, releases, name=NAME)
        for event in events:
            context.log.info("event %d: %s is %s", event.id, event.model_version, event.state)
        context.add_output_metadata(
            {
                "events": [e.id for e in events],
                "releases": releases.in_words(),
                "aliases": dg.MetadataValue.json(aliases),
            }
        )

    @dg.job(name=step, description=description, executor_def=dg.in_process_executor)
    def run() -> None:
        take()

    return run


RELEASE_JOBS = [
    _job("shadow", description="Score beside the live model without answering.", forced=_FORCE),
    _job(
        "canary",
        description="Answer a share of the households: 1, 5, 25, 50 or 100 %.",
        percent=dg.Field(
            dg.Noneable(float), default_value=None, description="Default: the ramp's next step"
        ),
        forced=_FORCE,
    ),
    _job(
        "promote",
        description="Make the canary live; refused unless the judge says PROMOTE.",
        forced=_FORCE,
    ),
    _job(
        "rollback",
        description="End the canary or shadow; a live model that is named gives way to the one "
        "before.",
    ),
]


@dg.sensor(
    jobs=[],
    minimum_interval_seconds=60,
    required_resource_keys={"settings"},
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps MLflow's aliases in step with the release ledger, whoever moved it.",
)
def release_aliases(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    settings = context.resources.settings
    desk = ReleaseDesk.of(settings)
    head = str(desk.ledger.head())
    if head == context.cursor:
        return dg.SkipReason("the ledger has not moved")
    releases = desk.ledger.releases(desk.name)
    follow_ledger(settings, releases, name=NAME)
    context.update_cursor(head)
    return dg.SkipReason(f"aliases follow event {head}: {releases.in_words()}")
