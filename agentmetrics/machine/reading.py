"""One reading of the machine: of the container's limits where it has some, else of the host."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from agentmetrics.machine.groups import Group, groups_of_process

READ_INTERVAL_SECONDS = 0.1
"""Within it, whoever asks gets the same reading."""
CPU_PERIOD_SECONDS = 1.0
"""The shortest time that a percentage of CPU is about: a host counts in ticks of 10 ms."""

T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """What was read at one moment; ``None`` for what could not be.

    ``cpu_percent`` is about the time since a reading at least a second before, and relative to
    ``cpu_limit_cores``. The process is this one, ``pid``, and its CPU time that since its start.
    """

    pid: int
    cpu_percent: float | None
    cpu_limit_cores: float | None
    memory_percent: float | None
    memory_used_bytes: float | None
    memory_limit_bytes: float | None
    disk_percent: float | None
    disk_used_bytes: float | None
    process_cpu_seconds: float
    process_resident_memory_bytes: float | None
    process_threads: float | None
    process_open_fds: float | None


class Machine:
    """The machine that this process runs in, with the file system that ``disk_path`` is on.

    ``read`` is for one thread at a time. Nothing here raises. A limit is that of the control group
    around this process that has the lowest; what is in use is counted in that group, which others
    may share. Where no group has a limit below what the host has, both are the host's. ``root`` is
    where ``/proc`` and the control groups are found.
    """

    def __init__(
        self,
        disk_path: str | Path = "/",
        *,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._disk_path, self._root, self._clock = str(disk_path), root, clock
        self._next_read = 0.0
        self._reading: Reading | None = None
        self._be_of(os.getpid())

    def _be_of(self, pid: int) -> None:
        """Begin in a process: a forked child is in groups of its own, and has used no CPU time."""
        self._pid = pid
        self._process = _or_none(psutil.Process)
        self._groups = groups_of_process(self._root)
        self._cores = os.cpu_count()
        self._total = _or_none(lambda: psutil.virtual_memory().total)
        self._cpu_percent: float | None = None
        self._cpu_before = self._cpu(self._clock())
        self._reading = None

    def fresh(self) -> Reading | None:
        """The last reading, if it is at most 100 ms old; for any thread."""
        reading = self._reading
        is_fresh = self._clock() < self._next_read and self._pid == os.getpid()
        return reading if is_fresh else None

    def read(self) -> Reading:
        """What there is now, or was at most 100 ms ago."""
        fresh = self.fresh()
        if fresh is not None:
            return fresh
        now, pid = self._clock(), os.getpid()
        if pid != self._pid:
            self._be_of(pid)
        reading = self._reading = self._read(now)
        self._next_read = now + READ_INTERVAL_SECONDS
        return reading

    def _read(self, now: float) -> Reading:
        cpu = self._cpu(now)
        memory_used, memory_limit = self._memory()
        disk = _or_none(lambda: psutil.disk_usage(self._disk_path))
        rss, threads, fds = self._of_process()
        return Reading(
            pid=self._pid,
            cpu_percent=self._percent_since(cpu),
            cpu_limit_cores=cpu.limit,
            memory_percent=100.0 * memory_used / memory_limit
            if memory_limit and memory_used is not None
            else None,
            memory_used_bytes=memory_used,
            memory_limit_bytes=memory_limit,
            disk_percent=None if disk is None else disk.percent,
            disk_used_bytes=None if disk is None else disk.used,
            process_cpu_seconds=time.process_time(),
            process_resident_memory_bytes=rss,
            process_threads=threads,
            process_open_fds=fds,
        )

    def _percent_since(self, cpu: _Cpu) -> float | None:
        before = self._cpu_before
        elapsed = cpu.at - before.at
        if cpu.of != before.of or cpu.limit != before.limit:  # no time was under both limits
            self._cpu_before, self._cpu_percent = cpu, None
        elif elapsed >= (
            READ_INTERVAL_SECONDS if self._cpu_percent is None else CPU_PERIOD_SECONDS
        ):
            if cpu.seconds is None or before.seconds is None or not cpu.limit:
                self._cpu_percent = None
            else:
                used = max(0.0, cpu.seconds - before.seconds)
                self._cpu_percent = 100.0 * used / elapsed / cpu.limit
            self._cpu_before = cpu
        return self._cpu_percent

    def _cpu(self, now: float) -> _Cpu:
        limit, group = _lowest(((g.cpu_limit(), g) for g in self._groups), self._cores)
        seconds = _or_none(_host_cpu_seconds) if group is None else group.cpu_seconds()
        return _Cpu(now, group, limit, seconds)

    def _memory(self) -> tuple[float | None, float | None]:
        limit, group = _lowest(((g.memory_limit(), g) for g in self._groups), self._total)
        if group is not None:
            return group.memory_used(), limit
        return _or_none(_host_memory_used), limit

    def _of_process(self) -> tuple[float | None, float | None, float | None]:
        process = self._process
        if process is None:
            return None, None, None
        return (
            _or_none(lambda: process.memory_info().rss),
            _or_none(process.num_threads),
            _or_none(process.num_fds),
        )


class _Cpu(NamedTuple):
    at: float
    of: Group | None
    limit: float | None
    seconds: float | None


def _lowest(
    limits: Iterable[tuple[float | None, Group]], host: float | None
) -> tuple[float | None, Group | None]:
    """The lowest limit, and the group that has it; of two with the same, the outer."""
    lowest, of = host, None
    for limit, group in limits:
        if limit is not None and (lowest is None or limit < lowest):
            lowest, of = limit, group
    return lowest, of


def _host_memory_used() -> float:
    """Bytes that could not be given to a program without swapping."""
    memory = psutil.virtual_memory()
    return float(memory.total - memory.available)


def _host_cpu_seconds() -> float:
    """Seconds that all CPUs were busy since the host's start."""
    times = psutil.cpu_times()
    # A guest's time is in the user's, too; waiting for a disk is idling.
    idle = sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return float(sum(times) - idle)


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (OSError, psutil.Error, RuntimeError, ValueError, AttributeError):
        return None  # a platform or a sandbox that does not say; num_fds is for POSIX
