"""Memory of the process and of the machine, read at most every 100 ms."""

from __future__ import annotations

import psutil

from agentmetrics import catalog
from agentmetrics.meters.base import Instruments

READ_INTERVAL_SECONDS = 0.1
_MIB = 1024 * 1024


class Memory:
    """The memory gauges; a reading is a system call, so one serves for a while."""

    def __init__(self, make: Instruments) -> None:
        self._process = psutil.Process()
        self.next_read = 0.0
        self.rss_mb = 0.0
        """Resident memory of this process in MiB when it was last read."""
        make.observe(catalog.LLM_MEMORY_AVAILABLE, available_mb)

    def read(self, now: float) -> None:
        """Read anew; to be called once ``time.perf_counter()`` has come to ``next_read``."""
        self.next_read = now + READ_INTERVAL_SECONDS
        self.rss_mb = self._process.memory_info().rss / _MIB


def available_mb() -> float:
    """Memory that the machine could give without swapping, in MiB."""
    return psutil.virtual_memory().available / _MIB
