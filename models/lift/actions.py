"""The actions whose lift is estimated: what a store may do with a product in a week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

# The terms in which every action is written, in this order.
TERMS = ("display", "mailer", "discount")


@dataclass(frozen=True)
class Action:
    """One thing a store may do with a product in a week.

    Attributes:
        name: As tables show it.
        display: On display.
        mailer: In the mailer.
        discount: Share off the base price, in [0, 1).
    """

    name: str
    display: bool = False
    mailer: bool = False
    discount: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.discount < 1.0:
            raise ValueError(
                f"action {self.name}: discount is {self.discount}; give a share in [0, 1)"
            )
        if not (self.display or self.mailer or self.discount):
            raise ValueError(f"action {self.name} does nothing; give a display, mailer or discount")

    @property
    def terms(self) -> np.ndarray:
        """The action in ``TERMS``: 0/1, 0/1 and minus the log of the price left."""
        return np.array(
            [float(self.display), float(self.mailer), -np.log1p(-self.discount)], dtype=np.float64
        )


# Depths that the real year has in plenty; combinations as its plans have them.
ACTIONS = (
    Action("display", display=True),
    Action("mailer", mailer=True),
    Action("discount_10", discount=0.10),
    Action("discount_20", discount=0.20),
    Action("discount_30", discount=0.30),
    Action("display_mailer", display=True, mailer=True),
    Action("display_discount_20", display=True, discount=0.20),
    Action("mailer_discount_20", mailer=True, discount=0.20),
    Action("display_mailer_discount_20", display=True, mailer=True, discount=0.20),
)


def action_terms(actions: Sequence[Action]) -> np.ndarray:
    """Actions by ``TERMS`` (Float64).

    Raises:
        ValueError: There are none, or two share a name.
    """
    names = [a.name for a in actions]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"actions {names}: give at least one, each with a name of its own")
    return np.stack([a.terms for a in actions])


def plan_terms(panel: pl.DataFrame) -> np.ndarray:
    """A panel's own plan as rows by ``TERMS`` (Float64).

    Args:
        panel: ``display, mailer`` (codes, "0" none), ``discount`` (share in [0, 1)).
    """
    columns = panel.select(
        (pl.col("display").fill_null("0") != "0").cast(pl.Float64),
        (pl.col("mailer").fill_null("0") != "0").cast(pl.Float64),
        # A free product would have no finite log price.
        -(1.0 - pl.col("discount").fill_null(0.0).fill_nan(0.0).clip(0.0, 0.95)).log(),
    )
    return columns.to_numpy()
