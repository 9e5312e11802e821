"""Which code is running: the git revision, as models, bentos and benchmarks record it."""

from __future__ import annotations

import subprocess
from functools import lru_cache

from resources.settings import PROJECT


@lru_cache(maxsize=1)
def git_revision() -> str:
    """Commit of the working tree, ``+changes`` if it differs; ``none`` outside a checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "none"
    return commit + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
