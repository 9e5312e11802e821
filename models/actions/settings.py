"""What a plan may cost and must respect: declared settings with their defaults, read from TOML.

Money is in the currency of the prices, a week is the unit of time, and every limit is of one week.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

Part = TypeVar("Part")


@dataclass(frozen=True)
class Economics:
    """What an action brings and costs.

    Attributes:
        margin: Share of the base price that is left after the cost of goods.
        margin_by_category: The same where a category differs.
        margin_band: The plan is made again with every margin this much lower and higher, to show
            how far it hangs on the margin.
        display_cost: Of one display in one store and week: space and labour.
        mailer_cost: Of one product in one store's mailer of a week.
        action_cost: Of any action: price labels and handling.
        supplier_share: Share of a discount that the supplier pays.
        panel_share: Share of a store's sales that the data holds: 1 for whole stores, less for a
            panel of households, whose units are divided by it.
    """

    margin: float = 0.30
    margin_by_category: Mapping[str, float] = field(default_factory=dict)
    margin_band: float = 0.05
    display_cost: float = 5.0
    mailer_cost: float = 2.0
    action_cost: float = 0.5
    supplier_share: float = 0.0
    panel_share: float = 1.0

    def __post_init__(self) -> None:
        for name, margin in {"margin": self.margin, **self.margin_by_category}.items():
            if not 0 < margin < 1:
                raise ValueError(f"margin of {name} is {margin}; it is a share between 0 and 1")
        if not 0 <= self.margin_band < self.margin:
            raise ValueError(f"margin_band {self.margin_band} is not in [0, margin {self.margin})")
        for name in ("display_cost", "mailer_cost", "action_cost"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; a cost is not negative")
        if not 0 <= self.supplier_share <= 1:
            raise ValueError(f"supplier_share {self.supplier_share} is not a share in [0, 1]")
        if not 0 < self.panel_share <= 1:
            raise ValueError(f"panel_share {self.panel_share} is not a share in (0, 1]")


@dataclass(frozen=True)
class StoreLimits:
    """Limits of one store in one week; ``None`` is no limit.

    Attributes:
        budget: What its actions may cost.
        display_slots: Displays it has room for.
        mailer_slots: Places in its mailer.
        actions: Products it may promote.
        least_actions: Products it must promote.
        category_cap: Products of one category it may promote.
    """

    budget: float | None = None
    display_slots: int | None = 4
    mailer_slots: int | None = 12
    actions: int | None = 15
    least_actions: int = 0
    category_cap: int | None = 3

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if value is not None and value < 0:
                raise ValueError(f"{part.name} of a store is {value}; a limit is not negative")


@dataclass(frozen=True)
class Required:
    """An action that was promised, say to a supplier: it is in every plan."""

    store_id: str
    product_id: str
    action: str


@dataclass(frozen=True)
class Limits:
    """What a plan must respect.

    Attributes:
        budget: What all actions of the week may cost; ``None`` is no limit.
        store: Limits of every store.
        stores: Limits of single stores in place of those.
        category_caps: Products of a category that a store may promote, in place of its cap.
        category_least: Products of a category that every store must promote.
        weeks_between: Full weeks without a promotion before a product may be promoted again in
            the same store (fatigue; a shopper who has learned to wait buys nothing at full price).
        required: Promised actions.
        excluded: Products that are never promoted.
    """

    budget: float | None = None
    store: StoreLimits = field(default_factory=StoreLimits)
    stores: Mapping[str, StoreLimits] = field(default_factory=dict)
    category_caps: Mapping[str, int] = field(default_factory=dict)
    category_least: Mapping[str, int] = field(default_factory=dict)
    weeks_between: int = 2
    required: tuple[Required, ...] = ()
    excluded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"budget is {self.budget}; a budget is not negative")
        if self.weeks_between < 0:
            raise ValueError(f"weeks_between is {self.weeks_between}; it is not negative")

    def of(self, store_id: str) -> StoreLimits:
        return self.stores.get(store_id, self.store)


@dataclass(frozen=True)
class Exploration:
    """How much of the plan is left to chance, so that lifts can be learned from it.

    Attributes:
        share: Probability with which a planned action is replaced by a drawn one, or by none.
        seed: Of the draws; a week and a place draw the same on every run.
    """

    share: float = 0.1
    seed: int = 20170101

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"exploration share {self.share} is not in [0, 1)")


@dataclass(frozen=True)
class TrialSettings:
    """What a proposed test must be able to show.

    Attributes:
        power: Probability to see the expected lift if it is real.
        alpha: Probability to see a lift where there is none, two-sided.
        least_weeks: Shortest test: what was bought ahead is missing in the weeks after, and a
            shorter one would not see it.
        most_weeks: Longest test.
        correlation: Of a store's weeks with each other beyond what its own history explains.
        dispersion: Variance of a product's weekly units in a store over their mean; 1 for counts
            at random, more where weeks differ.
        proposals: Tests proposed at a time.
    """

    power: float = 0.8
    alpha: float = 0.05
    least_weeks: int = 4
    most_weeks: int = 12
    correlation: float = 0.05
    dispersion: float = 2.0
    proposals: int = 8

    def __post_init__(self) -> None:
        for name in ("power", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not between 0 and 1")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"correlation {self.correlation} is not in [0, 1)")
        if self.dispersion <= 0:
            raise ValueError(f"dispersion {self.dispersion} is not positive")
        if not 1 <= self.least_weeks <= self.most_weeks:
            raise ValueError(
                f"tests of {self.least_weeks} to {self.most_weeks} weeks: least_weeks is at least "
                "1 and not above most_weeks"
            )
        if self.proposals < 0:
            raise ValueError(f"proposals {self.proposals} is below zero")


@dataclass(frozen=True)
class ActionSettings:
    """Everything a plan is made with."""

    economics: Economics = field(default_factory=Economics)
    limits: Limits = field(default_factory=Limits)
    exploration: Exploration = field(default_factory=Exploration)
    testing: TrialSettings = field(default_factory=TrialSettings)


def read_settings(text: str) -> ActionSettings:
    """Settings from TOML; what is not written keeps its default.

    Args:
        text: Tables ``economics``, ``limits`` (in it ``store``, ``stores."<id>"``,
            ``category_caps``, ``category_least``, ``required``), ``exploration``, ``testing``.

    Raises:
        ValueError: Not TOML, a name that is no setting, or a value that cannot be.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"the settings of actions are not TOML: {error}") from error
    known = {part.name for part in fields(ActionSettings)}
    _refuse_unknown(given, known, where="the settings of actions")
    limits = dict(given.get("limits", {}))
    store = _part(StoreLimits, limits.pop("store", {}), where="limits.store")
    base = {part.name: getattr(store, part.name) for part in fields(StoreLimits)}
    stores = {
        name: _part(StoreLimits, base | _store(own, name), where=f"limits.stores.{name}")
        for name, own in limits.pop("stores", {}).items()
    }
    required = tuple(
        _part(Required, row, where="limits.required") for row in limits.pop("required", [])
    )
    excluded = frozenset(limits.pop("excluded", []))
    made = {"store": store, "stores": stores, "required": required, "excluded": excluded}
    return ActionSettings(
        economics=_part(Economics, given.get("economics", {}), where="economics"),
        limits=_part(Limits, limits | made, where="limits"),
        exploration=_part(Exploration, given.get("exploration", {}), where="exploration"),
        testing=_part(TrialSettings, given.get("testing", {}), where="testing"),
    )


def _store(own: Any, name: str) -> dict[str, Any]:
    if not isinstance(own, dict):
        raise ValueError(  # noqa: TRY004 (the text is at fault, not the caller)
            f"limits.stores.{name} is {own!r}; it is a table of that store's limits"
        )
    return own


def _part(of: type[Part], given: Mapping[str, Any], *, where: str) -> Part:
    types = get_type_hints(of)
    _refuse_unknown(given, set(types), where=where)
    for name, value in given.items():
        if isinstance(value, bool) or (isinstance(value, str) and of is not Required):
            raise ValueError(f"{where}: {name} is {value!r}; a number is needed")
    try:
        return of(**given)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _refuse_unknown(given: Mapping[str, Any], known: set[str], *, where: str) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(
            f"{where}: {', '.join(unknown)} is no setting; there are {', '.join(sorted(known))}"
        )
