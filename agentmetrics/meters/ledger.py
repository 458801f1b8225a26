"""The ledger about itself."""

from __future__ import annotations

from collections.abc import Callable

from agentmetrics import catalog
from agentmetrics.calls.outcome import ERROR, SUCCESS
from agentmetrics.meters.base import Instruments


class LedgerMeter:
    """The instruments of what a ledger writes, cannot write, and loses."""

    def __init__(self, make: Instruments) -> None:
        self._make = make
        self._writes = make.counter(catalog.LEDGER_WRITES)
        self._lost = make.counter(catalog.LEDGER_CALLS_LOST)

    def begin(
        self,
        pending_rows: Callable[[], float],
        spool_bytes: Callable[[], float],
        last_success: Callable[[], float | None],
    ) -> None:
        """A ledger is attached: show from now on its counters, and what waits to be written.

        ``last_success`` is when it was last written to, in Unix time.
        """
        self._writes.labels(SUCCESS)
        self._writes.labels(ERROR)
        for reason in catalog.LEDGER_LOSSES:
            self._lost.labels(reason)
        self._make.observe(catalog.LEDGER_PENDING_ROWS, pending_rows)
        self._make.observe(catalog.SPOOL_BYTES, spool_bytes)
        self._make.observe(catalog.LEDGER_LAST_SUCCESS, lambda: _if_known(last_success()))

    def written(self) -> None:
        self._writes.labels(SUCCESS).inc()

    def failed(self) -> None:
        self._writes.labels(ERROR).inc()

    def lost(self, reason: str, calls: int) -> None:
        """Count calls that are in no ledger, for one of ``catalog.LEDGER_LOSSES``."""
        self._lost.labels(reason).inc(calls)


def _if_known(value: float | None) -> dict[tuple[str, ...], float]:
    return {} if value is None else {(): value}
