"""What the ledger's thread reads from the database from time to time, for gauges to show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import tzinfo

from agentmetrics.budget.ledger.anomaly import spend_ratios
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.snapshot import Snapshot
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.budget.ledger.upkeep import Upkeep
from agentmetrics.budget.periods import Span, period_at
from agentmetrics.errors import LedgerUnavailable

RATIOS_EVERY_SECONDS = 300.0
TODAY_EVERY_SECONDS = 15.0

Amounts = Mapping[str, float]
"""By agent."""


class Readings:
    """The latest answers of the database, of all processes that write to it.

    Reading them asks nobody. Where the database could not be asked, there are none: rather nothing
    than what was true some time ago.
    """

    def __init__(
        self,
        database: Callable[[], AbstractContextManager[Database]],
        clock: Callable[[], float],
        zone: tzinfo,
    ) -> None:
        self._database, self._clock, self._zone = database, clock, zone
        self._ratios: Amounts = {}
        self._today: Amounts = {}
        self._day = Span(0, 0)

    def take_in(self, upkeep: Upkeep) -> None:
        """Have the ledger's thread ask."""
        upkeep.add("comparison of spend", self._compare, RATIOS_EVERY_SECONDS)
        upkeep.add("spend of today", self._add_up, TODAY_EVERY_SECONDS)

    def ratios(self) -> Amounts:
        """The spend of the last hour by what is usual; see ``spend_ratios``."""
        return self._ratios

    def today(self) -> Amounts:
        """What agents have spent since midnight, in USD; of those none of whose calls has a known
        price, nothing."""
        start, end = self._day
        return self._today if start <= self._clock() < end else {}

    def forget(self) -> None:
        """Nothing is known any more."""
        self._ratios = self._today = {}

    def _compare(self) -> None:
        try:
            with self._database() as database, database.snapshot() as snapshot:
                self._ratios = spend_ratios(snapshot, self._clock(), self._zone)
        except LedgerUnavailable:
            self._ratios = {}
            raise

    def _add_up(self) -> None:
        day = period_at("daily", int(self._clock()), self._zone)
        try:
            with self._database() as database, database.snapshot() as snapshot:
                self._today = _spent(snapshot, day)
        except LedgerUnavailable:
            self._today = {}
            raise
        self._day = day


def _spent(snapshot: Snapshot, day: Span) -> Amounts:
    rows = snapshot.amounts(*day, ["agent_name"])
    return {agent: sums.cost_nano_usd / NANO for agent, sums in rows if sums.cost_is_known}
