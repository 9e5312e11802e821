"""Which files are the service's code: what is packaged, and what makes a package stale."""

from __future__ import annotations

import hashlib
from pathlib import Path

from resources.settings import PROJECT

# All that the service imports; the rest of the project stays out of the bento.
INCLUDE = (
    "bentos/*.py",
    "bentos/templates/*",
    "models/*.py",
    "models/*/*.py",
    "resources/__init__.py",
    "resources/api_keys.py",
    "resources/decision_files.py",
    "resources/event_log.py",
    "resources/health_file.py",
    "resources/incidents.py",
    "resources/judge_settings.py",
    "resources/logged_decisions.py",
    "resources/online_history.py",
    "resources/online_snapshot.py",
    "resources/release_ledger.py",
    "resources/release_steps.py",
    "resources/release_table.py",
    "resources/secrets.py",
    "resources/service_code.py",
    "resources/settings.py",
    "resources/telemetry.py",
    "resources/version_folder.py",
    "resources/versioned_files.py",
)


def files(project: Path = PROJECT) -> list[Path]:
    """The service's files, sorted by path."""
    return sorted({path for pattern in INCLUDE for path in project.glob(pattern)})


def digest(project: Path = PROJECT) -> str:
    """Of the service's files, names and contents."""
    found = hashlib.sha256()
    for path in files(project):
        found.update(f"{path.relative_to(project)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]
