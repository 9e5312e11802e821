"""A report's folder: a page for people and figures for machines, each whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_report(folder: Path, *, page: str, figures: str) -> Path:
    """Write ``index.html`` and ``metrics.json``.

    Args:
        folder: ``reports/<name>``; made if missing.
        page: HTML.
        figures: JSON.

    Returns:
        Path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("index.html", page), ("metrics.json", figures)):
        unfinished = folder / f".{name}.part"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)
    return folder / "index.html"
