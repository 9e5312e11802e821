"""What Prometheus scrapes of several workers, some of them ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from resources.settings import PROJECT

WORKER = """
import os, sys
from pathlib import Path
from bentos.metrics import Metrics, exposition, prepare_folder
prepare_folder(Path(sys.argv[1]))
metrics = Metrics()
metrics.decision("live", None, 0.001, failed=False)
metrics.gauges(ready=1, release=int(sys.argv[2]), problems=int(sys.argv[3]))
print(exposition().decode())
"""


def worker(folder: Path, *, release: int, problems: int) -> dict[str, float]:
    """What a worker says of all workers before it ends, by series without labels."""
    said = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder), str(release), str(problems)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    samples = [line.rsplit(" ", 1) for line in said.splitlines() if line[:1] not in {"#", ""}]
    return {name.split("{")[0]: float(value) for name, value in samples}


def test_gauges_are_of_living_workers_and_counters_of_all(tmp_path: Path) -> None:
    worker(tmp_path, release=3, problems=4)
    (folder,) = tmp_path.iterdir()
    assert list(folder.glob("gauge_live*.db"))
    said = worker(tmp_path, release=9, problems=0)
    assert said["liftgraph_ready"] == 1
    assert said["liftgraph_release"] == 9
    assert said["liftgraph_problems"] == 0
    assert said["liftgraph_decisions_total"] == 2
