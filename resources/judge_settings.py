"""What the canary judge counts as harm, from ``LIFTGRAPH_JUDGE_*`` or ``.env``."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.release.findings import EMPTY, ERRORS, JudgeSettings
from resources.settings import PROJECT


class _FromEnvironment(BaseSettings):
    """The figures an installation may want otherwise; the rest stands in ``JudgeSettings``."""

    model_config = SettingsConfigDict(
        env_prefix="LIFTGRAPH_JUDGE_", env_file=PROJECT / ".env", extra="ignore", frozen=True
    )

    error_harm: float = Field(
        default=ERRORS.harm,
        gt=0,
        lt=1,
        description="More failed answers than this share are excluded before a promotion",
    )
    empty_harm: float = Field(default=EMPTY.harm, gt=0, lt=1, description="The same, empty answers")
    latency_harm: float = Field(
        default=JudgeSettings.latency_harm, gt=0, description="The same, relative, latency"
    )
    score_harm: float | None = Field(
        default=JudgeSettings.score_harm,
        description="The same, best scores, in standard deviations; 0 when scales differ",
    )
    least_units: int = Field(
        default=JudgeSettings.least_units, ge=30, description="Household-days of each slice"
    )


def judge_settings() -> JudgeSettings:
    """Of this installation."""
    given = _FromEnvironment()
    return JudgeSettings(
        errors=ERRORS._replace(harm=given.error_harm),
        empty=EMPTY._replace(harm=given.empty_harm),
        latency_harm=given.latency_harm,
        score_harm=given.score_harm or None,
        least_units=given.least_units,
    )
