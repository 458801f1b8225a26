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
        self._writes = make.counter(catalog.LEDGER_WRITES)
        self._dropped = make.counter(catalog.LEDGER_CALLS_DROPPED)

    def begin(self, pending_rows: Callable[[], float]) -> None:
        """A ledger is attached: show from now on its counters, and what waits to be written."""
        self._writes.labels(SUCCESS)
        self._writes.labels(ERROR)
        self._dropped.labels()
        self._make.observe(catalog.LEDGER_PENDING_ROWS, pending_rows)

    def written(self) -> None:
        self._writes.labels(SUCCESS).inc()

    def failed(self) -> None:
        self._writes.labels(ERROR).inc()

    def dropped(self, calls: int) -> None:
        self._dropped.labels().inc(calls)
