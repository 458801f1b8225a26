"""Where the notices of budgets go, for ``agentmetrics check``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo

from agentmetrics.budget.budgets.budget import Budget
from agentmetrics.budget.budgets.notices import trial_notice
from agentmetrics.budget.budgets.state import BudgetState
from agentmetrics.budget.notify.destination import Destination
from agentmetrics.budget.notify.notice import Notice
from agentmetrics.budget.notify.post import Undelivered, post

Attempt = Callable[[Destination, Notice], None]
"""What is tried with a destination. Raises ``ValueError`` or ``Undelivered``."""


def look(destination: Destination, notice: Notice) -> None:
    """See whether there is a URL."""
    destination.url()


def send(destination: Destination, notice: Notice) -> None:
    """Send the notice."""
    post(destination.url(), notice.body(destination.kind))


def tried(
    budgets: Sequence[Budget], zone: tzinfo, attempt: Attempt
) -> Iterator[tuple[str, str | None]]:
    """For each destination, what it is told, and why that cannot work, if so."""
    told: dict[Destination, list[Budget]] = {}
    for budget in budgets:
        for destination in budget.destinations():
            told.setdefault(destination, []).append(budget)
    for destination, of in told.items():
        names = ", ".join(budget.name for budget in of)
        does = f"sends notices of {names} to {destination}"
        status = BudgetState(of[0], lambda *_: None, zone).status(time.time())
        try:
            attempt(destination, trial_notice(of[0], status))
        except (ValueError, Undelivered) as error:
            yield does, f"notify={str(destination)!r}: {error}"
        else:
            yield does, None
