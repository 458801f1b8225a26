"""Prometheus' multiprocess mode: updates written through to files, and the scrape over them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import prometheus_client
import psutil
from prometheus_client import values
from prometheus_client.metrics_core import Metric as PrometheusFamily
from prometheus_client.multiprocess import MultiProcessCollector as FilesCollector
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.registry import Collector

from agentmetrics.recording.fork import NOTICED, notice_fork
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.store import Store, StoredCounter, StoredGauge, StoredHistogram

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
OBSERVED_INTERVAL_SECONDS = 1.0
"""How often gauges that are read from a callback are written to the files."""
LAST = "livemostrecent"
"""prometheus-client's mode for gauges of which the last value set counts."""
CLOCK_SLACK_SECONDS = 5.0
"""A process' start is known to a clock tick and the boot time to a second."""

_LIVE_GAUGE_FILE = re.compile(r"gauge_live[a-z]+_(\d+)\.db")


class MultiprocessStore(Store):
    """A store that writes every update through to prometheus-client's mmapped files.

    Raises ``ValueError`` when the directory is none, or prometheus-client was imported before
    the variable was set: it chooses the kind of its values once, at import.
    """

    def __init__(self, directory: str) -> None:
        super().__init__(_WrittenCounter, _WrittenGauge, _WrittenHistogram)
        check_directory(directory)
        if not getattr(values.ValueClass, "_multiprocess", False):
            raise ValueError(
                f"{DIRECTORY_VARIABLE} was set after prometheus_client was imported: "
                "set it in the environment of the process"
            )
        self._written: dict[str, Any] = {}
        self._shown: dict[str, set[tuple[str, ...]]] = {}
        self._periodic: PeriodicFlush | None = None

    def written(self, metric: Metric, values: tuple[str, ...]) -> Any:
        """prometheus-client's own child for a series, backed by this process' file."""
        if self._periodic is None:
            # Not before the first series: a preloading server forks its workers without one.
            self._periodic = PeriodicFlush(self, OBSERVED_INTERVAL_SECONDS)
        if metric.name not in self._written:
            self._written[metric.name] = _client_metric(metric)
        parent = self._written[metric.name]
        return parent.labels(*values) if metric.labels else parent

    def flush(self) -> None:
        """Write the gauges that are read from callbacks.

        A file keeps what was written to it. A series that is read no more is nothing in a sum or a
        maximum, and else no number, which no alert is about.
        """
        for metric, series in self.observed():
            for label_values, value in series:
                self.written(metric, label_values).set(value)
            shown = {label_values for label_values, _ in series}
            for gone in self._shown.get(metric.name, set()) - shown:
                self.written(metric, gone).set(0.0 if metric.is_live else math.nan)
            self._shown[metric.name] = shown

    def after_fork_in_child(self) -> None:
        self._shown.clear()  # it is the parent's: the child would write that it is gone
        super().after_fork_in_child()


def _client_metric(metric: Metric) -> Any:
    arguments: Any = {"labelnames": metric.labels, "registry": None}
    if metric.kind == "counter":
        return prometheus_client.Counter(metric.name, metric.help, **arguments)
    if metric.kind == "histogram":
        return prometheus_client.Histogram(
            metric.name, metric.help, buckets=metric.buckets, **arguments
        )
    mode: Any = {"sum": "livesum", "max": "livemax", "last": LAST}[metric.merge]
    return prometheus_client.Gauge(metric.name, metric.help, multiprocess_mode=mode, **arguments)


class _WrittenCounter(StoredCounter):
    __slots__ = ("_file",)

    def __init__(self, store: MultiprocessStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self._file = store.written(metric, values)

    def inc(self, amount: float = 1.0) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            super().inc(amount)
            self._file.inc(amount)

    def reset(self) -> None:  # of this process; the files of others are theirs
        super().reset()
        self._file.reset()


class _WrittenGauge(StoredGauge):
    __slots__ = ("_file",)

    def __init__(self, store: MultiprocessStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self._file = store.written(metric, values)
        self._file.set(0)  # a process that had this number before may have left its own

    def set(self, value: float) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            super().set(value)
            self._file.set(value)

    def inc(self, amount: float = 1.0) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            super().inc(amount)
            self._file.set(self.value)

    def dec(self, amount: float = 1.0) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            super().dec(amount)
            self._file.set(self.value)

    def reset(self) -> None:
        super().reset()
        self._file.set(0)


class _WrittenHistogram(StoredHistogram):
    __slots__ = ("_file",)

    def __init__(self, store: MultiprocessStore, metric: Metric, values: tuple[str, ...]) -> None:
        self._file: Any = None
        super().__init__(store, metric, values)
        self._file = store.written(metric, values)

    def reset(self) -> None:
        super().reset()
        if self._file is not None:  # it is while the series is made: the file keeps what it has
            for part in (self._file._sum, *self._file._buckets):
                part.set(0)

    def observe(self, value: float) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            super().observe(value)
            self._file.observe(value)


class MultiprocessCollector(Collector):
    """The files of all workers as one collector; what dead workers had in flight is swept first."""

    def __init__(self, directory: str) -> None:
        check_directory(directory)
        self._directory = Path(directory)

    def describe(self) -> list[PrometheusFamily]:
        return []

    def collect(self) -> Iterable[PrometheusFamily]:
        sweep_dead_workers(self._directory)
        files = [str(file) for file in self._directory.glob("*.db") if _is_begun(file)]
        merge: Any = FilesCollector.merge
        families: Iterable[PrometheusFamily] = merge(files, accumulate=True)
        for family in families:
            if getattr(family, "_multiprocess_mode", "") == LAST:  # NaN is "not any more"
                family.samples = [s for s in family.samples if not math.isnan(s.value)]
        return families


def _is_begun(file: Path) -> bool:
    """Whether a file can be read. It is empty when a worker has just made it, and stays so when the
    worker was killed just then; prometheus-client's own collector fails on that at every scrape."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def check_directory(directory: str) -> None:
    """Raise ``ValueError`` unless the multiprocess directory is one and can be written to."""
    if not Path(directory).is_dir() or not os.access(directory, os.W_OK):
        raise ValueError(
            f"{DIRECTORY_VARIABLE}={directory!r} must be an existing directory "
            "that this process can write to"
        )


def sweep_dead_workers(directory: Path) -> None:
    """Remove the live gauges of processes that are gone: what they had in flight is over.

    The directory must be shared by processes that see each other's process ids.
    """
    for file in list(directory.glob("gauge_live*.db")):
        match = _LIVE_GAUGE_FILE.fullmatch(file.name)
        if match and not _is_writer_alive(int(match[1]), file):
            mark_process_dead(int(match[1]), str(directory))  # type: ignore[no-untyped-call]


def _is_writer_alive(pid: int, file: Path) -> bool:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # A younger process with the old one's number did not write this.
        return process.create_time() <= file.stat().st_mtime + CLOCK_SLACK_SECONDS
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
