"""Training again by policy: train, gates, package, shadow; a fault on the way changes nothing."""

from datetime import date

import dagster as dg

from assets.training.offer_ranker import NAME
from assets.training.weeks import PROTOCOL
from models.release.retraining import RetrainingDecision, RetrainingPolicy, decide
from resources import model_registry
from resources.drift_reference import drift_since
from resources.settings import Settings

TRIGGER_TAG = "liftgraph/retraining"
# In this order: a step that fails, or a gate that blocks, stops all that follow. The ledger is
# written by the last, so that until then nothing has happened to customers.
STEPS = (
    "models.offer_ranker",
    "evaluation.ranking",
    "models.champion",
    "serving.bento",
    "release.candidate",
)

retrain_job = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(*(dg.AssetKey(s.split(".")) for s in STEPS)),
    description="Train, judge by the gates, package, and let the candidate into the shadow.",
)


def due(settings: Settings, policy: RetrainingPolicy | None = None) -> RetrainingDecision:
    """What the policy says of this installation now."""
    try:
        stored = model_registry.latest_model(settings, NAME)
    except FileNotFoundError:
        stored = None
    weeks = stored.facts["train_as_ofs"] if stored else []
    return decide(
        policy or RetrainingPolicy(),
        trained_until=max(map(date.fromisoformat, weeks), default=None),
        matured_until=PROTOCOL.train[-1],
        drift=drift_since(settings, stored) if stored else {},
    )


@dg.sensor(
    job=retrain_job,
    minimum_interval_seconds=3600,
    required_resource_keys={"settings"},
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=(
        "Asks for a training when enough labels have matured since the last one, or features have "
        "drifted. Once per situation: a training that failed is not asked for again until another "
        "week has matured, or somebody runs it."
    ),
)
def retraining(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    decision = due(context.resources.settings)
    if not decision.retrain:
        return dg.SkipReason(decision.reason)
    context.log.info("training again (%s): %s", decision.trigger, decision.reason)
    return dg.RunRequest(
        run_key=f"retrain {decision.key}", tags={TRIGGER_TAG: decision.trigger or ""}
    )
