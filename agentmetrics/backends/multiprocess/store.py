"""The store whose every update is written through to prometheus-client's files."""

from __future__ import annotations

import math
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import prometheus_client
from prometheus_client import values

from agentmetrics.backends.multiprocess.collector import LAST
from agentmetrics.backends.multiprocess.compaction import tidy
from agentmetrics.backends.multiprocess.directory import DIRECTORY_VARIABLE, check_directory
from agentmetrics.backends.multiprocess.files import Files
from agentmetrics.backends.multiprocess.successor import make_way
from agentmetrics.recording.exits import close_at_exit
from agentmetrics.recording.fork import NOTICED, notice_fork, renew_in_children
from agentmetrics.recording.health import FILES_REMADE, FILES_SKIPPED, SERIES_UNWRITTEN
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.store import Store, StoredCounter, StoredGauge, StoredHistogram

OBSERVED_INTERVAL_SECONDS = 1.0
"""How often gauges that are read from a callback are written to the files."""
TIDY_INTERVAL_SECONDS = 30.0
"""How often a process that runs looks for what dead ones left, where nobody scrapes."""


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
        self._files = Files()
        self._directory = Path(directory)
        self._written: dict[str, Any] = {}
        self._shown: dict[str, set[tuple[str, ...]]] = {}
        self._periodic: PeriodicFlush | None = None
        self._tidied = time.monotonic()
        self._make_way()
        tidy(self._directory)

    def written(self, metric: Metric, values: tuple[str, ...]) -> Any:
        """prometheus-client's own child for a series, backed by this process' file."""
        if self._periodic is None:
            # Not before the first series: a preloading server forks its workers without one.
            with suppress(RuntimeError):  # at the very end of a program no thread can begin
                self._periodic = PeriodicFlush(self, OBSERVED_INTERVAL_SECONDS)
            close_at_exit(_AtEnd(self))
        if metric.name not in self._written:
            made = self._written[metric.name] = _client_metric(metric)
            if metric.labels:
                renew_in_children(made._lock)
        parent = self._written[metric.name]
        return parent.labels(*values) if metric.labels else parent

    def flush(self) -> None:
        """Write the gauges that are read from callbacks, and look after the files.

        A file keeps what was written to it. A series that is read no more is nothing in a sum or a
        maximum, and else no number, which no alert is about.
        """
        if time.monotonic() >= self._tidied + TIDY_INTERVAL_SECONDS:
            self._tidied = time.monotonic()
            tidy(self._directory)
        self._look_after_files()
        for metric, series in self.observed():
            for label_values, value in series:
                self.written(metric, label_values).set(value)
            shown = {label_values for label_values, _ in series}
            for gone in self._shown.get(metric.name, set()) - shown:
                self.written(metric, gone).set(0.0 if metric.is_live else math.nan)
            self._shown[metric.name] = shown

    def _look_after_files(self) -> None:
        remade, unwritten = self._files.look_after()
        if remade:
            self.written(FILES_REMADE, ()).inc(remade)
        if unwritten:
            self.written(SERIES_UNWRITTEN, ()).inc(unwritten)

    def end(self) -> None:
        """Show nothing in flight of this process, which is about to end, and tidy up after others.

        If it goes on nevertheless, the next flush and the next update show what is in flight again.
        """
        with self.lock:
            for metric in self.metrics.values():
                if metric.is_live and metric.kind == "gauge":
                    self._end(metric)
        tidy(self._directory)

    def _end(self, metric: Metric) -> None:
        shown = self._shown.get(metric.name, set())
        # A child that has nothing to show makes no file for it.
        kept = {of for of, series in self.series[metric.name].items() if series.value}
        for label_values in shown | kept:
            self.written(metric, label_values).set(0.0)

    def after_fork_in_child(self) -> None:
        self._shown.clear()  # it is the parent's: the child would write that it is gone
        self._make_way()
        super().after_fork_in_child()

    def _make_way(self) -> None:
        with suppress(OSError):
            repaired = make_way(self._directory)
            if repaired:
                self.written(FILES_SKIPPED, ()).inc(repaired)


class _AtEnd:
    """What there is to do at every end of the process, for as long as the store is in use."""

    def __init__(self, store: MultiprocessStore) -> None:
        self._store = weakref.ref(store)

    def close(self) -> None:
        store = self._store()
        if store is not None:
            store.end()


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
