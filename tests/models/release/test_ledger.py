"""What a history adds up to, and which steps may follow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.release.ledger import IllegalTransitionError
from models.release.transitions import LEGAL, RAMP, next_percent
from models.release.windows import comparable_windows
from tests.models.release.histories import GOOD, History, with_canary, with_live, with_shadow


def test_the_first_candidate_goes_live_and_no_other() -> None:
    history = with_live()
    assert history.now.live.model_version == "a"
    history.to("b", "candidate")
    with pytest.raises(IllegalTransitionError, match="b is candidate and cannot become live"):
        history.to("b", "live")
    with pytest.raises(IllegalTransitionError, match="c is not in the ledger and cannot become"):
        history.to("c", "shadow")


def test_the_whole_way() -> None:
    history = with_canary(50.0)
    canary = history.now.canary
    assert (canary.percent, canary.since, canary.event) == (50.0, history.events[4].at, 7)
    history.to("b", "live", evidence=GOOD)
    now = history.now
    assert (now.live.model_version, now.canary, now.shadow) == ("b", None, None)
    assert now.previous_live.model_version == "a"
    assert now.states == {"a": "retired", "b": "live"}
    assert [(e.model_version, e.state, e.previous) for e in history.events[-2:]] == [
        ("a", "retired", "live"),
        ("b", "live", "canary"),
    ]


def test_rolling_back_the_live_model_brings_back_the_one_before_and_again() -> None:
    history = with_canary()
    history.to("b", "live", evidence=GOOD)
    history.to("c", "candidate")
    history.to("c", "live", forced=True)
    assert history.events[-1].forced
    history.rollback("c")
    assert history.now.live.model_version == "b"
    assert history.now.previous_live.model_version == "a"
    history.rollback("b")
    now = history.now
    assert (now.live.model_version, now.previous_live) == ("a", None)
    assert now.states == {"a": "live", "b": "rolled_back", "c": "rolled_back"}
    with pytest.raises(IllegalTransitionError, match="would leave no model"):
        history.rollback("a")


def test_a_rollback_means_canary_or_shadow_unless_it_names_the_live_model() -> None:
    history = with_canary()
    history.to("c", "candidate")
    history.to("c", "shadow")
    history.rollback("c")
    assert (history.now.shadow, history.now.canary.model_version) == (None, "b")
    history.rollback()
    assert (history.now.canary, history.now.live.model_version) == (None, "a")
    with pytest.raises(IllegalTransitionError, match="model b is rolled_back"):
        history.rollback("b")
    # Two who end the same canary do not end the live model after it.
    before = list(history.events)
    with pytest.raises(IllegalTransitionError, match=r"name it: a .*Now: live a, canary nobody"):
        history.rollback()
    assert history.events == before
    history.to("d", "candidate")
    history.to("d", "shadow")
    assert history.rollback().model_version == "d"


@pytest.mark.parametrize(
    ("percent", "refusal"),
    [
        (50.0, "at 5 % and grows to 25 % next"),
        (5.0, "at 5 % already"),
        (30.0, "has one of 1, 5, 25, 50, 100 percent"),
        (None, "has one of"),
    ],
)
def test_a_canary_grows_step_by_step(percent, refusal: str) -> None:
    with pytest.raises(IllegalTransitionError, match=refusal):
        with_canary().to("b", "canary", percent=percent)
    with pytest.raises(IllegalTransitionError, match="begins at 1 or 5 %"):
        with_shadow().to("b", "canary", percent=25.0)


def test_a_canary_may_shrink_and_be_forced_to_grow_faster() -> None:
    history = with_canary(50.0)
    assert not history.to("b", "canary", percent=1.0).forced
    assert history.to("b", "canary", percent=100.0, forced=True).forced


def test_an_inconclusive_canary_goes_live_by_force_only() -> None:
    history = with_canary(50.0)
    for evidence in ({}, {"verdict": "INCONCLUSIVE"}, {"verdict": "ROLLBACK"}):
        with pytest.raises(IllegalTransitionError, match=r"judge says .* not PROMOTE; force it"):
            history.to("b", "live", evidence=evidence)
    assert history.to("b", "live", evidence={"verdict": "INCONCLUSIVE"}, forced=True).forced


def test_places_have_room_for_one_even_by_force() -> None:
    history = with_canary()
    history.to("c", "candidate")
    history.to("c", "shadow")
    for forced in (False, True):
        with pytest.raises(IllegalTransitionError, match="c cannot be canary: b is"):
            history.to("c", "canary", percent=1.0, forced=forced)


@pytest.mark.parametrize("forced", [False, True])
def test_the_live_model_leaves_its_place_to_another_one_only(forced: bool) -> None:
    with pytest.raises(IllegalTransitionError, match="a is live and cannot become shadow"):
        with_live().to("a", "shadow", forced=forced)


def test_force_that_is_not_needed_is_not_recorded() -> None:
    assert not with_live().to("b", "candidate", forced=True).forced


@pytest.mark.parametrize("words", [{"actor": " "}, {"reason": ""}])
def test_somebody_says_who_and_why(words, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.models.release import histories

    monkeypatch.setattr(histories, "WHY", histories.WHY | words)
    with pytest.raises(IllegalTransitionError, match="has no"):
        History().to("a", "candidate")


def test_the_ramp_ends() -> None:
    assert [next_percent(p) for p in (None, *RAMP)] == [*RAMP, None]


STEPS = st.tuples(
    st.sampled_from("abcd"),
    st.sampled_from(["candidate", "shadow", "canary", "live", "retired", "rolled_back", "back"]),
    st.sampled_from(RAMP),
    st.booleans(),
    st.sampled_from([{}, GOOD]),
)


@given(st.lists(STEPS, max_size=40))
def test_no_history_leaves_customers_without_a_model_or_a_place_with_two(taken) -> None:
    history = History()
    had_live = False
    for version, to, percent, forced, evidence in taken:
        before = list(history.events)
        try:
            if to == "back":
                history.rollback(version if forced else None)
            else:
                share = percent if to == "canary" else None
                history.to(version, to, percent=share, forced=forced, evidence=evidence)
        except IllegalTransitionError:
            assert history.events == before
        now = history.now
        had_live = had_live or now.live is not None
        assert (now.live is not None) == had_live
        for place in ("live", "canary", "shadow"):
            here = [v for v, state in now.states.items() if state == place]
            held = getattr(now, place)
            assert here == ([held.model_version] if held else [])
        unforced = [e for e in history.events if not e.forced and e.previous != "live"]
        for event in unforced:
            restored = event.state == "live" and event.previous in {"retired", "candidate"}
            # Going back to an earlier live model is a rollback's, which needs no leave.
            assert event.state in LEGAL[event.previous] or restored


def test_windows_in_which_a_canary_had_its_baseline() -> None:
    history = with_canary(100.0)
    five, quarter, half, whole = (e.at for e in history.events[4:])
    assert comparable_windows(history.events) == [(five, quarter), (quarter, half), (half, whole)]
    history.rollback()
    assert comparable_windows(history.events) == []
    history = with_canary()
    history.to("c", "candidate")
    history.to("c", "live", forced=True)
    # Another live model, another baseline.
    assert comparable_windows(history.events) == [(history.events[-1].at, None)]
