"""Memory of the process and of the machine, read at most every 100 ms."""

from __future__ import annotations

import os
from collections.abc import Sequence

import psutil

from agentmetrics import catalog
from agentmetrics.meters.base import Instruments
from agentmetrics.recording.instruments import GaugeSeries
from agentmetrics.recording.recorder import Wanted

READ_INTERVAL_SECONDS = 0.1
_MIB = 1024 * 1024


class Memory:
    """The memory gauges; a reading is a system call, so one serves for a while.

    With ``in_mb`` there are also those in MiB, under the names that memory had first.
    """

    def __init__(self, make: Instruments, *, in_mb: bool) -> None:
        self._process = psutil.Process()
        self.next_read = 0.0
        self.in_mb = in_mb
        self.rss_bytes = 0
        """Resident memory of this process when it was last read."""
        self.rss_mb = 0.0
        """The same in MiB."""
        self._rss = [make.gauge(catalog.LLM_MEMORY_RSS_BYTES)]
        make.observe(catalog.LLM_MEMORY_AVAILABLE_BYTES, available_bytes)
        if in_mb:
            self._rss.append(make.gauge(catalog.LLM_MEMORY_RSS))
            make.observe(catalog.LLM_MEMORY_AVAILABLE, lambda: available_bytes() / _MIB)

    def rss_wanted(self, agent_name: str) -> list[Wanted]:
        """The gauges of resident memory after a call of this agent: in bytes, and perhaps MiB."""
        return [(gauge.metric, [(agent_name,)]) for gauge in self._rss]

    def rss_series(self, agent_name: str) -> list[GaugeSeries]:
        """The same, bound."""
        return [gauge.bind((agent_name,)) for gauge in self._rss]

    def show(self, rss_series: Sequence[GaugeSeries]) -> None:
        """Set these gauges one by one, where they are in no batch."""
        for gauge, rss in zip(rss_series, (self.rss_bytes, self.rss_mb), strict=False):
            gauge.set(rss)

    def rss_at(self, now: float) -> int:
        """Resident memory at this reading of ``time.perf_counter()``, as of the last 100 ms."""
        if now >= self.next_read:
            self.read(now)
        return self.rss_bytes

    def read(self, now: float) -> None:
        """Read anew; to be called once ``time.perf_counter()`` has come to ``next_read``."""
        self.next_read = now + READ_INTERVAL_SECONDS
        if self._process.pid != os.getpid():  # in a forked child
            self._process = psutil.Process()
        self.rss_bytes = self._process.memory_info().rss
        self.rss_mb = self.rss_bytes / _MIB


def available_bytes() -> int:
    """Memory that the machine could give without swapping."""
    available: int = psutil.virtual_memory().available
    return available
