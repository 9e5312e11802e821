"""On which side of its threshold a gate's value passes, for gates that have one threshold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from checks.gates import ranking as comparisons
from checks.gates import ranking_audit as audit

SIDES: Mapping[str, Literal["at_least", "at_most"]] = MappingProxyType(
    {
        comparisons.BEATS_GP_TOPFREQ: "at_least",
        comparisons.BEATS_BEST_BASELINE: "at_least",
        comparisons.NOT_BELOW_CHAMPION: "at_least",
        comparisons.NOT_BELOW_CHALLENGERS: "at_least",
        audit.CALIBRATION: "at_most",
        audit.SLICES: "at_least",
        audit.FAIRNESS: "at_least",
        audit.CANDIDATE_RECALL: "at_least",
        audit.LEAKAGE: "at_most",
        audit.BUDGET: "at_most",
    }
)
