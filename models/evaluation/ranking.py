"""Evaluation of rankings: every system on the same purchases, compared household by household."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from models.evaluation.bootstrap import DRAWS, Interval, mean_intervals
from models.evaluation.metrics import METRICS, mean_metrics, per_event, split_by_history
from models.evaluation.result import CHAMPION, EvaluationResult, Lineage, Segment
from models.evaluation.sources import overlap_table, source_table


def evaluate_ranking(
    rankings: Mapping[str, pl.DataFrame],
    *,
    model: str,
    purchases: pl.DataFrame,
    lines: pl.LazyFrame,
    candidates: pl.DataFrame,
    sources: Sequence[str],
    importance: pl.DataFrame,
    lineage: Lineage,
    k: int,
    seed: int,
    challengers: Collection[str] = (),
    seconds: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> EvaluationResult:
    """Judge ``model`` and its baselines on the weeks of ``purchases``.

    Args:
        rankings: System to ``household_id, as_of, product_id, rank``.
        model: Which of them is judged.
        purchases: ``household_id, as_of, product_id`` of everything bought in the held-out weeks.
        lines: ``household_id, product_id, week_start``, to tell repeat from explore purchases.
        candidates: From ``candidate_events``, of the same weeks.
        sources: Names of the sources counted in it.
        importance: ``feature, gain`` of the model.
        lineage: Where the model came from.
        k: Length of the judged list.
        seed: Of the bootstrap.
        challengers: Rankings that are no baselines; nor is one named ``champion``. Those that are
            not given are left out.
        seconds: Source to what it took, where measured.
        draws: Bootstrap samples.

    Raises:
        ValueError: ``model`` has no ranking, no baseline is given, nothing was bought, or the
            model's training weeks reach into the weeks judged.
    """
    baselines = set(rankings) - {model, CHAMPION, *challengers}
    if model not in rankings or not baselines:
        raise ValueError(
            f"evaluate_ranking(): rankings of {sorted(rankings)} given, {model!r} is to be judged; "
            "give its ranking and that of at least one baseline"
        )
    weeks = tuple(purchases["as_of"].unique().sort().to_list())
    late = [week for week in lineage.train_as_ofs if weeks and week >= weeks[0]]
    if late:
        raise ValueError(
            f"evaluate_ranking(): the model was trained on {late}, which the evaluation from "
            f"{weeks[0]} holds out; train on earlier weeks"
        )
    judged = {name: per_event(ranking, purchases, k=k) for name, ranking in rankings.items()}
    events = judged[model]
    metrics, differences = _compare(judged, model=model, k=k, seed=seed, draws=draws)
    repeat, explore = split_by_history(purchases, lines)
    return EvaluationResult(
        model=model,
        k=k,
        weeks=weeks,
        events=events.height,
        households=events["household_id"].n_unique(),
        metrics=metrics,
        differences=differences,
        by_week=_by_week(judged),
        segments=tuple(
            _segment(name, part, rankings=rankings, k=k)
            for name, part in (("repeat", repeat), ("explore", explore))
            if not part.is_empty()
        ),
        candidate_recall=source_table(candidates, sources=sources, seconds=seconds),
        overlap=overlap_table(candidates, sources=sources),
        importance=importance,
        lineage=lineage,
        challengers=tuple(name for name in rankings if name in challengers),
    )


def _compare(
    judged: Mapping[str, pl.DataFrame], *, model: str, k: int, seed: int, draws: int
) -> tuple[dict[str, dict[str, Interval]], dict[str, dict[str, Interval]]]:
    """Intervals of every system and of model minus each other one, all on the same draws."""
    # Every system was judged on the same events in the same order.
    wide = pl.concat(
        [
            judged[model].select("household_id"),
            *(
                frame.select(
                    pl.col(column).alias(f"{name} {column}") for column in METRICS.values()
                )
                for name, frame in judged.items()
            ),
        ],
        how="horizontal",
    )
    others = [name for name in judged if name != model]
    wide = wide.with_columns(
        (pl.col(f"{model} {column}") - pl.col(f"{name} {column}")).alias(f"minus {name} {column}")
        for name in others
        for column in METRICS.values()
    )
    found = mean_intervals(
        wide, [c for c in wide.columns if c != "household_id"], seed=seed, draws=draws
    )

    def named(prefix: str) -> dict[str, Interval]:
        return {f"{metric}@{k}": found[f"{prefix} {col}"] for metric, col in METRICS.items()}

    return {name: named(name) for name in judged}, {n: named(f"minus {n}") for n in others}


def _by_week(judged: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(
        frame.group_by("as_of", maintain_order=True)
        .agg(pl.len().alias("events"), *(pl.col(c).mean() for c in METRICS.values()))
        .sort("as_of")
        .select(
            "as_of", pl.lit(name).alias("system"), "events", *(pl.col(c) for c in METRICS.values())
        )
        for name, frame in judged.items()
    )


def _segment(
    name: str, purchases: pl.DataFrame, *, rankings: Mapping[str, pl.DataFrame], k: int
) -> Segment:
    judged = {system: per_event(r, purchases, k=k, checked=True) for system, r in rankings.items()}
    return Segment(
        name=name,
        purchases=purchases.height,
        events=next(iter(judged.values())).height,
        metrics={system: mean_metrics(frame, k=k) for system, frame in judged.items()},
    )
