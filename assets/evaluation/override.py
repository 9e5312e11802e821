"""The one way past a failed gate: a reason and a name, from the environment of the run."""

from __future__ import annotations

import getpass

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from checks.gates.gate import Override
from resources.settings import PROJECT


class OverrideSettings(BaseSettings):
    """``LIFTGRAPH_GATE_OVERRIDE`` and ``LIFTGRAPH_GATE_OVERRIDE_BY``."""

    model_config = SettingsConfigDict(
        env_prefix="LIFTGRAPH_", env_file=PROJECT / ".env", extra="ignore", frozen=True
    )

    gate_override: str = Field("", description="Why a model is released past a failed gate")
    gate_override_by: str = Field("", description="Who decided; default the user of the process")


def forced_override() -> Override | None:
    """The override asked for; ``None`` if none was.

    Read at each call: it is a decision about one run, not a setting of the installation.
    """
    asked = OverrideSettings()
    if not asked.gate_override:
        return None
    return Override(reason=asked.gate_override, actor=asked.gate_override_by or getpass.getuser())
