"""The status page at ``/``: one self-contained HTML document that works offline."""

from __future__ import annotations

from html import escape

from bentos.status_schemas import Status

# The page loads nothing and runs nothing.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
dl { display: grid; grid-template-columns: 14rem 1fr; border-top: 1px solid var(--line); }
dt, dd { margin: 0; padding: .35rem 0; border-bottom: 1px solid var(--line); }
dd { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.state { font-weight: 600; padding: .5rem .75rem; border: 2px solid; border-radius: .4rem; }
@media (max-width: 32rem) { dl { grid-template-columns: 1fr; } dt { border: 0; font-weight: 600; } }
"""

_LINKS = (
    '<p><a href="/status">Status as JSON</a> · <a href="/openapi.json">OpenAPI</a> · '
    '<a href="/metrics">Metrics</a></p>'
)


def status_page(status: Status) -> str:
    """Render what is running and what is wrong."""
    state = "Ready: answering requests" if status.ready else "Not ready: requests are refused"
    sections = [
        f'<p class="state" role="status">{escape(state)}</p>',
        _problems(status.problems),
        _section("Model", _model(status)),
        _section("Features", _snapshot(status)),
        _section("Answers since start", _answers(status)),
        _LINKS,
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>liftgraph: {escape(state)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>liftgraph</h1>{''.join(sections)}</main></body></html>"
    )


def _problems(problems: list[str]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{escape(p)}</li>" for p in problems)
    return f"<h2>What is wrong</h2><ul>{items}</ul>"


def _section(title: str, rows: dict[str, object]) -> str:
    body = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items())
    return f"<h2>{escape(title)}</h2><dl>{body}</dl>"


def _model(status: Status) -> dict[str, object]:
    rows: dict[str, object] = {"Bento": status.bento or "run from source", "Arm": status.arm}
    if status.model is None:
        return {**rows, "Model": "none: popular products are offered"}
    return {
        **rows,
        "Version": status.model.version,
        "Package": status.model.tag,
        **{f"Label {name}": value for name, value in sorted(status.model.labels.items())},
    }


def _snapshot(status: Status) -> dict[str, object]:
    snapshot = status.snapshot
    if snapshot is None:
        return {"Snapshot": "none"}
    return {
        "As of": snapshot.as_of,
        "Newest data known": f"{snapshot.known_at:%Y-%m-%d %H:%M} UTC "
        f"({snapshot.data_age_days:,.1f} days ago)",
        "Past the freshness limit": "yes" if snapshot.stale else "no",
        "Snapshot": snapshot.version,
        "Data snapshot": snapshot.data_snapshot,
        "Feature set": f"{snapshot.features} features, {snapshot.feature_set_hash}",
        "Households": f"{snapshot.households:,}",
        "Candidates": f"{snapshot.candidates:,}",
    }


def _answers(status: Status) -> dict[str, object]:
    return {
        "Answers": f"{status.decisions:,}",
        **{f"Fallback {name}": f"{n:,}" for name, n in sorted(status.fallbacks.items())},
        "Started": f"{status.started_at:%Y-%m-%d %H:%M:%S} UTC",
    }
