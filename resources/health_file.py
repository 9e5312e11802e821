"""What the checks found last, as a small file that the service can read without the lake.

The lake's ``quality.partition_status`` is the record; this is its summary per asset, replaced whole
after every run. The page that shows it is open, so examples of bad values stay in the lake.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resources.partition_status import PartitionStatus

FILE = "health.json"
# Named one by one; the rest are counted.
NAMED_WEEKS = 5
# What begins the examples in a reason.
_EXAMPLES = ", e.g. "


@dataclass(frozen=True)
class AssetHealth:
    """The newest checks of one asset.

    Attributes:
        asset: ``schema.name``.
        weeks: Partitions that were checked.
        failed: How many of them failed.
        failed_weeks: The newest of those, ISO dates; empty for an asset without weeks.
        newest: Newest week that passed, ISO date; ``None`` without weeks.
        reason: Of the newest failure, up to its first example; empty if none failed.
    """

    asset: str
    weeks: int
    failed: int
    failed_weeks: tuple[str, ...]
    newest: str | None
    reason: str


@dataclass(frozen=True)
class Health:
    """All assets, those that failed first.

    Attributes:
        made_at: When it was written, naive UTC.
        assets: One row each.
    """

    made_at: datetime
    assets: tuple[AssetHealth, ...]


def summary(statuses: Iterable[PartitionStatus]) -> tuple[AssetHealth, ...]:
    """Newest states by asset, those with failures first."""
    by_asset: dict[str, list[PartitionStatus]] = {}
    for status in statuses:
        by_asset.setdefault(status.asset, []).append(status)
    rows = []
    for asset, found in sorted(by_asset.items()):
        found.sort(key=lambda s: s.week or date.min, reverse=True)
        failed = [s for s in found if not s.passed]
        passed = [s for s in found if s.passed and s.week]
        rows.append(
            AssetHealth(
                asset=asset,
                weeks=len(found),
                failed=len(failed),
                failed_weeks=tuple(s.week.isoformat() for s in failed[:NAMED_WEEKS] if s.week),
                newest=passed[0].week.isoformat() if passed and passed[0].week else None,
                reason=_without_values(failed[0].reason) if failed else "",
            )
        )
    return tuple(sorted(rows, key=lambda r: (r.failed == 0, r.asset)))


def _without_values(reason: str) -> str:
    """A reason up to its first example: a bad value may be a household's raw id."""
    said, found, _ = reason.partition(_EXAMPLES)
    return f"{said} (more: quality.partition_status)" if found else said


def write_health(home: Path, statuses: Iterable[PartitionStatus]) -> Path:
    """Replace the file whole."""
    now = datetime.now(UTC).replace(tzinfo=None)
    made = {"made_at": now.isoformat(), "assets": [asdict(row) for row in summary(statuses)]}
    home.mkdir(parents=True, exist_ok=True)
    unfinished = home / f".{FILE}.{os.getpid()}"
    unfinished.write_text(json.dumps(made, indent=1), encoding="utf-8")
    unfinished.replace(home / FILE)
    return home / FILE


def read_health(home: Path) -> Health | None:
    """What was written last; ``None`` before the first run.

    Raises:
        ValueError: The file is damaged; the message says what to do.
    """
    try:
        found = json.loads((home / FILE).read_text(encoding="utf-8"))
        return Health(
            made_at=datetime.fromisoformat(found["made_at"]),
            assets=tuple(
                AssetHealth(**row | {"failed_weeks": tuple(row["failed_weeks"])})
                for row in found["assets"]
            ),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{home / FILE} cannot be read ({error}): remove it; `make run` writes it again"
        ) from error
