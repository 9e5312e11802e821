"""What the lift estimator assumes beside the data, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LiftSettings:
    """Assumptions and thresholds of the lift of an action.

    Attributes:
        null_share: Prior probability that an action does nothing, used for intervals alone. With
            one in ten, a product's own data must speak 4.3 times as loudly for an effect as
            against it before a lower bound leaves 0, which for an action without effect happens
            less than once in twenty, however well other products respond (see ``bounds``).
        prior_spread: Spread of effects over products from which its estimation starts; log scale.
        timing_spread: Spread, about 0, of the prior of what weeks with promotion sell more for
            other reasons (promotion timed to demand); log units of a display, mailer or a
            fifth off. A tenth is what a good
            planner who foresees his weeks would gain.
        diversion: Mean and spread of the prior of the share of incremental units taken from
            rivals of the type. Van Heerde, Leeflang and Wittink (2004) find about a third of the
            bump across brands, a third across time and a third new; the spread is wide.
        diversion_category: The same for the category's other types.
        pull_forward: The same for each of the weeks after.
        share_error: Standard deviation, beside what sampling leaves, of the shares taken from
            rivals of the type, from the category's other types, and from each later week: they are
            estimated from own effects that are estimates themselves. Measured on 18 markets other
            than those it is reported on (docs/lift.md).
        pull_weeks: Weeks after that are looked at.
        level_half_life: Weeks after which a sale counts half for the level of a store's product.
        week_level: Trailing weeks whose mean is the level of the coming week.
        cycles: Rounds of fixed effects, own effects and spill-over.
    """

    null_share: float = 0.10
    prior_spread: float = 0.3
    timing_spread: float = 0.1
    diversion: tuple[float, float] = (0.3, 0.3)
    diversion_category: tuple[float, float] = (0.1, 0.2)
    pull_forward: tuple[float, float] = (0.1, 0.15)
    share_error: tuple[float, float, float] = (0.02, 0.025, 0.01)
    pull_weeks: int = 3
    level_half_life: float = 13.0
    week_level: int = 8
    cycles: int = 8

    def __post_init__(self) -> None:
        if not 0.0 <= self.null_share < 1.0:
            raise ValueError(
                f"lift settings: null_share is {self.null_share}; give a share below 1"
            )
        if min(self.pull_weeks, self.cycles, self.week_level) < 1 or self.level_half_life <= 0:
            raise ValueError(
                "lift settings: pull_weeks, cycles, week_level and level_half_life must be above 0"
            )
