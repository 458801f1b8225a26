"""What must be true of budgets that come into force together."""

from __future__ import annotations

from collections.abc import Sequence

from agentmetrics.budget.budgets.budget import Budget
from agentmetrics.budget.ledger.spend import CALL_LABELS


def check_budgets(budgets: Sequence[Budget], extra_labels: Sequence[str]) -> None:
    """Raise ``ValueError`` when two have the same name, or one names a label that calls do not
    have."""
    names = [budget.name for budget in budgets]
    for budget in budgets:
        if names.count(budget.name) > 1:
            raise ValueError(f"two budgets are named {budget.name!r}: names must be unique")
        for label in budget.scope:
            if label not in (*CALL_LABELS, *extra_labels):
                raise ValueError(
                    f"budget {budget.name!r}: calls have no label {label!r}; use one of "
                    f"{', '.join((*CALL_LABELS, *extra_labels))}"
                )


def check_shared(budgets: Sequence[Budget], *, has_ledger: bool) -> None:
    """Raise ``ValueError`` when one is to be shared by processes and there is nothing to share."""
    for budget in budgets:
        if budget.is_shared and not has_ledger:
            raise ValueError(
                f"budget {budget.name!r}: reserve_in='ledger': there is no ledger; set "
                "AGENTMETRICS_LEDGER_URL to 'postgresql://user:password@host/database', or to "
                "'sqlite:///spend.db' for the processes of one machine"
            )
