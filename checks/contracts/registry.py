"""Every contract by its table's name."""

from __future__ import annotations

from checks.contracts.actions import ACTIONS
from checks.contracts.contract import Contract
from checks.contracts.decisions import SERVING
from checks.contracts.demand import DEMAND
from checks.contracts.features import FEATURES
from checks.contracts.labels import LABELS
from checks.contracts.lift import LIFT
from checks.contracts.marts import MARTS
from checks.contracts.monitoring import MONITORING
from checks.contracts.quarantine import QUARANTINE
from checks.contracts.ranking import RANKING
from checks.contracts.raw import RAW
from checks.contracts.response import RESPONSE

CONTRACTS: dict[str, Contract] = {
    c.table: c
    for c in (
        *RAW,
        *QUARANTINE.values(),
        *MARTS,
        *FEATURES,
        *LABELS,
        *RANKING,
        *RESPONSE,
        *DEMAND,
        *LIFT,
        *ACTIONS,
        *SERVING,
        *MONITORING,
    )
}


def contract_of(table: str) -> Contract:
    """The contract of ``schema.name``.

    Raises:
        KeyError: No contract is declared for it.
    """
    try:
        return CONTRACTS[table]
    except KeyError:
        raise KeyError(
            f"no contract is declared for {table}; add one in checks/contracts/ and to "
            "checks/contracts/registry.py"
        ) from None
