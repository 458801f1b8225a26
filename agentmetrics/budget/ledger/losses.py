"""Calls that are lost, and attempts to write: said, and counted by those who show the ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from agentmetrics.meters.ledger import LedgerMeter
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")


class Losses:
    """Counts what a ledger loses, at every meter that hears of it.

    What is lost before there is one is counted by the first.
    """

    def __init__(self, shown: str, problems: LogOnce) -> None:
        self._shown, self._problems = shown, problems
        self._meters: list[LedgerMeter] = []
        self._before: dict[str, int] = {}

    def hear(self, meter: LedgerMeter) -> None:
        """Tell a meter as well from now on."""
        self._meters.append(meter)
        while self._before:
            meter.lost(*self._before.popitem())

    def refuse(self, calls: int) -> None:
        """Count calls with numbers that no database can hold; logged once."""
        self._problems.warn(
            "unwritable",
            "a call has numbers that the ledger cannot hold: it is lost",
        )
        self._count("unwritable", calls)

    def miss(self, calls: int) -> None:
        """Count calls that end when the ledger is closed; logged once."""
        self._problems.warn("closed", "a call ended as its ledger was closed: it is lost")
        self._count("closed", calls)

    def lose(self, reason: str, calls: int) -> None:
        """Log and count calls that are lost, for one of the reasons of the catalogue."""
        if calls:
            logger.error("the ledger %s lost %d calls: %s", self._shown, calls, reason)
            self._count(reason, calls)

    def _count(self, reason: str, calls: int) -> None:
        if not self._meters:
            self._before[reason] = self._before.get(reason, 0) + calls
        self.tell(lambda meter: meter.lost(reason, calls))

    def tell(self, what: Callable[[LedgerMeter], None]) -> None:
        """Have every meter count something."""
        for meter in self._meters:
            with suppress(Exception):  # a backend that fails is no reason to write anything twice
                what(meter)
