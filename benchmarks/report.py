"""What a benchmark leaves behind: its figures, the machine and the revision they belong to."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from resources.revision import git_revision


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory, system and interpreter."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def write_result(
    path: Path | str,
    *,
    benchmark: str,
    figures: Mapping[str, Any],
    ratios: Mapping[str, float],
    models: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Write a benchmark's result as JSON and return it.

    Args:
        path: File to write; its folder is made.
        benchmark: Name of the benchmark.
        figures: What was measured, with units in the names (``_s``, ``_mb``).
        ratios: Figures over a yardstick measured in the same run.
        models: Metrics per model, for the model benchmarks.

    Raises:
        ValueError: A figure is not a finite number or not JSON.
    """
    result: dict[str, Any] = {
        "benchmark": benchmark,
        "figures": dict(figures),
        "ratios": dict(ratios),
        "machine": machine(),
        "revision": git_revision(),
    }
    if models is not None:
        result["models"] = {name: dict(metrics) for name, metrics in models.items()}
    text = json.dumps(result, indent=2, allow_nan=False)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    return result


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
