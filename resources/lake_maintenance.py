"""Upkeep of the lake: small files merged, old snapshots expired, their files removed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from resources.lake import Lake
from resources.settings import Settings

# Long enough to look back at what a decision of last month was based on.
KEEP_DAYS = 30
# A reader that began before a file was expired has finished by then.
REMOVE_FILES_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Upkeep:
    """What maintenance did."""

    files_merged: int
    snapshots_expired: int
    snapshots_kept_by_name: int
    files_removed: int


def maintain(
    lake: Lake,
    *,
    keep: Collection[int] = (),
    keep_days: int = KEEP_DAYS,
    remove_after: timedelta = REMOVE_FILES_AFTER,
) -> Upkeep:
    """Merge small files, expire old snapshots and remove the files only they named.

    Args:
        lake: To maintain.
        keep: Snapshots that models or releases name: kept however old.
        keep_days: Age at which other snapshots expire; the newest never does.
        remove_after: Age at which unreferenced files are removed.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    with lake.write() as connection:
        merged = connection.execute("CALL ducklake_merge_adjacent_files('lake')").fetchall()
    with lake.write() as connection:
        rows = connection.execute(
            "SELECT snapshot_id, snapshot_time::TIMESTAMP FROM ducklake_snapshots('lake') "
            "ORDER BY snapshot_id"
        ).fetchall()
        newest = rows[-1][0]
        old = [
            number
            for number, at in rows
            if number != newest and at < now - timedelta(days=keep_days)
        ]
        expired = [number for number in old if number not in set(keep)]
        if expired:
            connection.execute("CALL ducklake_expire_snapshots('lake', versions => ?)", [expired])
    with lake.write() as connection:
        removed = connection.execute(
            "CALL ducklake_cleanup_old_files('lake', older_than => ?)", [now - remove_after]
        ).fetchall()
        # What a killed transaction had moved into the lake and never named.
        removed += connection.execute(
            "CALL ducklake_delete_orphaned_files('lake', older_than => ?)", [now - remove_after]
        ).fetchall()
    return Upkeep(
        files_merged=len(merged),
        snapshots_expired=len(expired),
        snapshots_kept_by_name=len(old) - len(expired),
        files_removed=len(removed),
    )


def named_snapshots(settings: Settings) -> set[int]:
    """Snapshots that a stored model was trained on, or an online snapshot was made from."""
    import json

    found = set()
    online = settings.online_dir.glob("*/manifest.json")
    for facts in (*(settings.home / "models").glob("*/*/facts.json"), *online):
        named = json.loads(facts.read_text(encoding="utf-8")).get("data_snapshot", "")
        if str(named).isdigit():
            found.add(int(named))
    return found
