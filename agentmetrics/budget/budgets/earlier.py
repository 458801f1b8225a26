"""What a budget's period had cost until an hour ago: a sum too long to be made before each call.

It may only lack what was written lately of calls that ended before that: see ``LATE_SECONDS``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agentmetrics.budget.ledger.demand import Demand
from agentmetrics.budget.ledger.spend import CallFilter
from agentmetrics.budget.periods import BUCKET_SECONDS, Span

RECENT_SECONDS = 3600
"""What ended within this time is added up before each call."""
LATE_SECONDS = RECENT_SECONDS / 2
"""A call that is written so long after its end may be missing here, for ``OLDEST_SECONDS``. Half of
the time, since clocks differ."""
OLDEST_SECONDS = 15.0
"""How long a sum is used."""
REFRESH_SECONDS = 5.0
_USED_SECONDS = 60.0

Sum = Callable[[CallFilter, Span], int]
"""Asks the ledger what calls cost in a span, in 10⁻⁹ USD; raises ``LedgerUnavailable``."""


@dataclass(slots=True)
class _Known:
    demand: Demand
    until: int
    nano_usd: int
    read_at: float
    used_at: float


class Earlier:
    """Keeps these sums of the budgets that calls are made in."""

    def __init__(self, sum_of: Sum) -> None:
        self._sum_of = sum_of
        self._known: dict[tuple[int, int], _Known] = {}
        self._refresh_at = 0.0

    def told(self, demand: Demand) -> Demand:
        """The demand with what was spent earlier. Asks the ledger where that is not known.

        Raises ``LedgerUnavailable``.
        """
        now = time.monotonic()
        known = self._known.get((demand.lock, demand.span.start))
        if known is None or now - known.read_at > OLDEST_SECONDS:
            known = self._read(demand, now)
        known.used_at = now
        return demand._replace(earlier_nano=known.nano_usd, earlier_until=known.until)

    def _read(self, demand: Demand, used_at: float) -> _Known:
        recent = int(time.time() - RECENT_SECONDS) // BUCKET_SECONDS * BUCKET_SECONDS
        until = min(max(demand.span.start, recent), demand.span.end)
        read_at = time.monotonic()  # before it is read: so old it may be
        span = Span(demand.span.start, until)
        nano_usd = self._sum_of(demand.scope, span) if span.start < span.end else 0
        known = _Known(demand, until, nano_usd, read_at, used_at)
        self._known[demand.lock, demand.span.start] = known
        return known

    def refresh(self) -> None:
        """Read again, every ``REFRESH_SECONDS``, what calls were asking for within a minute."""
        now = time.monotonic()
        if now < self._refresh_at:
            return
        self._refresh_at = now + REFRESH_SECONDS
        for key, known in tuple(self._known.items()):
            if now - known.used_at < _USED_SECONDS:
                self._read(known.demand, known.used_at)
            else:
                self._known.pop(key, None)
