"""The ledger about itself."""

from __future__ import annotations

from collections.abc import Callable

from agentmetrics import catalog
from agentmetrics.calls.outcome import ERROR, SUCCESS
from agentmetrics.meters.base import Instruments


class LedgerMeter:
    """The instruments of what a ledger writes and cannot write."""

    def __init__(self, make: Instruments) -> None:
        self._make = make
        writes = make.counter(catalog.LEDGER_WRITES)
        self._written, self._failed = writes.labels(SUCCESS), writes.labels(ERROR)
        self._dropped = make.counter(catalog.LEDGER_CALLS_DROPPED).labels()

    def pending_rows(self, count: Callable[[], float]) -> None:
        """Show from now on what this says."""
        self._make.observe(catalog.LEDGER_PENDING_ROWS, count)

    def written(self) -> None:
        self._written.inc()

    def failed(self) -> None:
        self._failed.inc()

    def dropped(self, calls: int) -> None:
        self._dropped.inc(calls)
