"""The machine and this process as gauges read at collection, and the lag of event loops."""

from __future__ import annotations

from functools import partial

from agentmetrics import catalog
from agentmetrics.machine.reading import Machine, Reading
from agentmetrics.meters.base import Instruments
from agentmetrics.recording.fork import ForkSafeLock
from agentmetrics.recording.instruments import Observed

_GAUGES = {
    "cpu_percent": catalog.SYSTEM_CPU_PERCENT,
    "cpu_limit_cores": catalog.SYSTEM_CPU_LIMIT,
    "memory_percent": catalog.SYSTEM_MEMORY_PERCENT,
    "memory_used_bytes": catalog.SYSTEM_MEMORY_USED,
    "memory_limit_bytes": catalog.SYSTEM_MEMORY_LIMIT,
    "disk_percent": catalog.SYSTEM_DISK_PERCENT,
    "disk_used_bytes": catalog.SYSTEM_DISK_USED,
    "process_resident_memory_bytes": catalog.SYSTEM_PROCESS_MEMORY,
    "process_threads": catalog.SYSTEM_PROCESS_THREADS,
    "process_open_fds": catalog.SYSTEM_PROCESS_OPEN_FDS,
}
"""The fields of a ``Reading`` and the gauges that show them."""


class SystemMeter:
    """Shows a machine; what cannot be read has no series."""

    def __init__(self, make: Instruments) -> None:
        self._make = make
        self._cpu_seconds = make.counter(catalog.SYSTEM_PROCESS_CPU)
        self._lock = ForkSafeLock()
        self._counted = (0, 0.0)
        """The process, and how much of its CPU time is in the counter."""

    def show(self, machine: Machine) -> None:
        """Read this machine from now on, whenever metrics are collected.

        Raises ``ValueError`` where the recorder cannot take one of the gauges.
        """
        for field, metric in _GAUGES.items():
            self._make.observe(metric, partial(self._value, machine, field))
        self._cpu_seconds.labels()  # backends that flush begin with their first series

    def _value(self, machine: Machine, field: str) -> Observed:
        value = getattr(machine.fresh() or self._read(machine), field)
        return {} if value is None else value

    def _read(self, machine: Machine) -> Reading:
        with self._lock:
            reading = machine.read()
            pid, counted = self._counted
            used = reading.process_cpu_seconds - (counted if pid == reading.pid else 0.0)
            self._counted = (reading.pid, reading.process_cpu_seconds)
        if used > 0:  # not under the lock: the store's own may be held by who waits for this one
            self._cpu_seconds.labels().inc(used)
        return reading


class EventLoopMeter:
    """The histogram of how late event loops are."""

    def __init__(self, make: Instruments) -> None:
        self._lag = make.histogram(catalog.EVENT_LOOP_LAG).labels()
        self._recorder = make.recorder

    def late(self, seconds: float) -> None:
        with self._recorder.update():
            self._lag.observe(seconds)
