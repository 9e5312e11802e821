"""The one place that turns every library's telemetry off."""

from __future__ import annotations

import os

OFF = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "True",
    "GIT_PYTHON_REFRESH": "quiet",
}


def switch_off() -> None:
    """Set each library's own switch; a user who wants telemetry sets it before starting."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
