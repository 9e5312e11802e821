"""Online against offline: equal rows count nothing; a skewed feature and a lost row are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bentos.schemas import RankOffersRequest
from checks.contracts.contract import validate
from checks.contracts.decisions import DECISIONS, EVENTS
from checks.contracts.monitoring import FEATURE_PARITY
from models.monitoring.feature_parity import CANDIDATE, Marts, Offline, compare
from models.monitoring.parity_days import parity_of, sampled
from models.serving.log_rows import decision_rows, event_rows
from resources.online_snapshot import open_snapshot
from tests.bentos.test_fresh_features import accept, bought
from tests.bentos.tiny_service import TinyService, make_service
from tests.models.ranking.tiny_week import AS_OF, INSTANT, ZONE, promotions, week


def rows(**values: list) -> pl.DataFrame:
    return pl.DataFrame(values, schema_overrides={"x": pl.Float32, "y": pl.Float32})


def test_by_hand() -> None:
    online = rows(
        request_id=["r"] * 4, product_id=list("abcd"), x=[1.0, 2.0, None, 4.0], y=[np.nan] * 4
    )
    offline = rows(
        request_id=["r"] * 4,
        product_id=list("abce"),
        x=[1.0, 2.5, 3.0, 4.0],
        y=[None, 1.0, None, 2.0],
    )
    found = {r["feature"]: r for r in compare(online, offline, features=["x", "y"]).to_dicts()}
    assert found[CANDIDATE] | {"feature": ""} == {
        "feature": "", "rows": 5, "mismatched": 0, "missing": 1, "extra": 1
    }  # fmt: skip
    assert [found["x"][n] for n in ("rows", "mismatched", "missing", "extra")] == [3, 1, 1, 0]
    assert [found["y"][n] for n in ("rows", "mismatched", "missing", "extra")] == [3, 0, 1, 0]


@pytest.fixture
def service(tmp_path: Path) -> TinyService:
    return make_service(tmp_path / "home")


def parity(service: TinyService) -> pl.DataFrame:
    """Serve some decisions, one of them after an event, and compare."""
    engine = service.engine()
    accept(engine.fresh, "e1", bought())
    for household in ("1", "2", "3", "3", "stranger"):
        engine.rank_offers(RankOffersRequest(household_id=household))
    engine.close()
    schema = {c.name: c.dtype for c in DECISIONS.columns}
    decisions, _ = decision_rows(service.log_lines(), schema=schema, time_zone=ZONE)
    log = next(service.settings.household_events_dir.glob("*.jsonl*")).read_bytes().splitlines()
    events, _ = event_rows(log, schema={c.name: c.dtype for c in EVENTS.columns}, time_zone=ZONE)
    known = week().known
    dated = pl.col("sold_at").dt.truncate("1w").dt.date().alias("week_start")
    offline = Offline(
        marts=Marts(
            lines=week().lines.lazy().with_columns(dated),
            products=known.products,
            promotions=promotions(),
            campaigns=known.campaigns,
            targets=known.targets,
            coupons=known.coupons,
        ),
        as_of=AS_OF,
        instant=INSTANT,
        time_zone=ZONE,
    )
    return parity_of(
        sampled(decisions.lazy()).collect(),
        snapshot=open_snapshot(service.settings.online_dir),
        offline=offline,
        events=events.lazy(),
    )


def test_what_was_served_is_what_the_marts_give(service: TinyService) -> None:
    service.publish()
    found = parity(service)
    rates = found.select("mismatch_rate", "missing_rate", "extra_rate")
    assert rates.sum().row(0) == (0.0, 0.0, 0.0)
    counted = dict(found.group_by("fresh").agg(pl.col("decisions").first()).rows())
    # A household once; the stranger has no candidates of its own.
    assert counted == {False: 2, True: 1}
    assert found.filter(feature=CANDIDATE, fresh=True)["rows"][0] > 10
    assert validate(found.select(pl.lit(AS_OF).alias("day"), pl.all()), FEATURE_PARITY).passed


def test_a_skewed_feature_and_a_lost_candidate_are_found(service: TinyService) -> None:
    made = week().examples
    skewed = made.with_columns(
        pl.col("hp_habit_20d") * 1.001, pl.lit(None, dtype=pl.Float32).alias("p_households_7d")
    ).filter(pl.col("product_id") != made["product_id"][0])
    service.publish(examples=skewed)
    found = {
        r["feature"]: r for r in parity(service).filter(~pl.col("fresh")).iter_rows(named=True)
    }
    assert found["hp_habit_20d"]["mismatch_rate"] > 0.3
    assert found["p_households_7d"]["missing_rate"] > 0.9
    assert 0 < found[CANDIDATE]["missing_rate"] < 0.2
    assert found["hp_habit_60d"]["mismatch_rate"] == 0.0
