"""What is demanded of the budgets of a call before it is made, where processes share them."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import NamedTuple

from agentmetrics.budget.ledger.spend import CallFilter
from agentmetrics.budget.periods import Period, Span

LEASE_SECONDS = 120
"""How long a reservation holds whose process has died, or cannot reach the database."""
ANSWER_SECONDS = 2.0
"""How long anything here may take, in the database and in waiting for another thread."""


class Demand(NamedTuple):
    """What is asked of a budget: that it covers a call besides all that is spent and reserved."""

    scope: CallFilter
    period: Period
    span: Span
    limit_nano: int
    earlier_nano: int = 0
    earlier_until: int = 0
    """What was spent in the span before this second (Unix time) is ``earlier_nano``."""

    @property
    def lock(self) -> int:
        """The number under which one process at a time reserves from such a budget.

        It is the same for each budget of this scope and period, however it is called and whatever
        its limit is, and for every clock.
        """
        scope = self.scope
        named = (scope.agent_name, scope.provider, scope.model, sorted(scope.dimensions.items()))
        text_of = json.dumps((self.period, *named))
        digest = blake2b(text_of.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


class Refusal(NamedTuple):
    """Which of the demands cannot be met, and how that budget stands, in 10⁻⁹ USD."""

    demand: int
    spent_nano: int
    reserved_nano: int
