"""Actions in the terms that effects belong to."""

import numpy as np
import polars as pl
import pytest

from models.lift.actions import ACTIONS, Action, action_terms, plan_terms


def test_terms_by_hand() -> None:
    terms = action_terms([Action("a", display=True), Action("b", mailer=True, discount=0.5)])
    assert terms == pytest.approx(np.array([[1, 0, 0], [0, 1, np.log(2)]]))


def test_a_panels_plan_in_the_same_terms() -> None:
    panel = pl.DataFrame(
        {"display": ["0", "7", None], "mailer": ["A", "0", "0"], "discount": [0.0, 0.5, None]}
    )
    assert plan_terms(panel) == pytest.approx(np.array([[0, 1, 0], [1, 0, np.log(2)], [0, 0, 0]]))


def test_names_are_unique_and_every_action_does_something() -> None:
    assert len({a.name for a in ACTIONS}) == len(ACTIONS)
    with pytest.raises(ValueError, match="does nothing"):
        Action("idle")
    with pytest.raises(ValueError, match="give a share"):
        Action("free", discount=1.0)
    with pytest.raises(ValueError, match="a name of its own"):
        action_terms([ACTIONS[0], ACTIONS[0]])
