"""The store whose every update is written through to prometheus-client's files."""

from __future__ import annotations

import math
import time
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from operator import sub
from pathlib import Path
from typing import Any, cast

import prometheus_client
from prometheus_client import values

from agentmetrics.backends.multiprocess.collector import LAST
from agentmetrics.backends.multiprocess.compaction import tidy
from agentmetrics.backends.multiprocess.directory import DIRECTORY_VARIABLE, check_directory
from agentmetrics.backends.multiprocess.files import Files
from agentmetrics.backends.multiprocess.successor import make_way
from agentmetrics.backends.multiprocess.through import Through
from agentmetrics.recording.batches import slots_batch
from agentmetrics.recording.exits import close_at_exit
from agentmetrics.recording.fork import NOTICED, notice_fork, renew_in_children
from agentmetrics.recording.health import FILES_REMADE, FILES_SKIPPED, SERIES_UNWRITTEN
from agentmetrics.recording.instruments import Batch, CounterSeries, GaugeSeries, HistogramSeries
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.recorder import Wanted
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
        self.through = Through(self._files.lock)
        self._directory = Path(directory)
        self._in_files: dict[str, Any] = {}
        self._shown: dict[str, set[tuple[str, ...]]] = {}
        self._begun = count()
        self._periodic: PeriodicFlush | None = None
        self._tidied = time.monotonic()
        self._make_way()
        tidy(self._directory)

    def bind(self, metric: Metric, values: tuple[str, ...]) -> Any:
        found = super().bind(metric, values)
        if not found.is_in_file:
            self._write_first([found])
        return found

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        bound = super().bind_each(wanted)
        new = [series for series in bound if not series.is_in_file]
        if new:
            self._write_first(new)
        return bound

    def _write_first(self, series: Sequence[Any]) -> None:
        """Show series at 0, which no update has yet."""
        if not next(self._begun):
            self._begin()
        with self.lock:
            self.through.write_all(series)

    def _begin(self) -> None:
        """At the first series, and not before: a preloading server forks its workers without a
        thread."""
        with suppress(RuntimeError):  # at the very end of a program no thread can begin
            self._periodic = PeriodicFlush(self, OBSERVED_INTERVAL_SECONDS)
        close_at_exit(_AtEnd(self))

    def in_file(self, metric: Metric, values: tuple[str, ...]) -> Any:
        """prometheus-client's own child for a series, backed by this process' file.

        To be asked for in the turn of ``through``.
        """
        parent = self._in_files.get(metric.name)
        if parent is None:
            parent = self._in_files[metric.name] = _client_metric(metric)
            if metric.labels:
                renew_in_children(parent._lock)
        return parent.labels(*values) if metric.labels else parent

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        """See ``Recorder.batch``; for series of this store. All of them are written in one turn."""
        update_slots = slots_batch(len(adds), len(sets), 0)(*adds, *sets)
        notes: list[Any] = [series.count for series in cast("Sequence[Any]", observations)]
        split = len(adds) + len(sets)
        series: tuple[Any, ...] = (*adds, *sets, *observations)
        write_all = self.through.write_all

        def apply(*values: float) -> None:
            update_slots(*values[:split])
            for note, value in zip(notes, values[split:], strict=True):
                note(value)
            write_all(series)

        return apply

    def flush(self) -> None:
        """Write the gauges that are read from callbacks, and look after the files.

        A file keeps what was written to it. A series that is read no more is nothing in a sum or a
        maximum, and else no number, which no alert is about.
        """
        if time.monotonic() >= self._tidied + TIDY_INTERVAL_SECONDS:
            self._tidied = time.monotonic()
            tidy(self._directory)
        observed = list(self.observed())  # before the turn: it runs code of the program's own
        with self.through.turn() as is_ours:
            if is_ours:
                self._look_after_files()
                for metric, series in observed:
                    self._show(metric, dict(series))
        with self.lock:
            self.through.catch_up()

    def _show(self, metric: Metric, series: dict[tuple[str, ...], Any]) -> None:
        for label_values, value in series.items():
            self.in_file(metric, label_values).set(value)
        for gone in self._shown.get(metric.name, set()) - series.keys():
            self.in_file(metric, gone).set(0.0 if metric.is_live else math.nan)
        self._shown[metric.name] = set(series)

    def _look_after_files(self) -> None:
        remade, unwritten = self._files.look_after()
        if remade:
            self.in_file(FILES_REMADE, ()).inc(remade)
        if unwritten:
            self.in_file(SERIES_UNWRITTEN, ()).inc(unwritten)

    def end(self) -> None:
        """Show nothing in flight of this process, which is about to end, and tidy up after others.

        If it goes on nevertheless, the next flush and the next update show what is in flight again.
        """
        with self.lock:
            self.through.catch_up()
            with self.through.turn() as is_ours:
                for metric in self.metrics.copy().values() if is_ours else ():
                    if metric.is_live and metric.kind == "gauge":
                        self._end(metric)
        tidy(self._directory)

    def _end(self, metric: Metric) -> None:
        shown = self._shown.get(metric.name, set())
        # A child that has nothing to show makes no file for it.
        kept = {of for of, series in self.series[metric.name].copy().items() if series.value}
        for label_values in shown | kept:
            self.in_file(metric, label_values).set(0.0)

    def after_fork_in_child(self) -> None:
        self._shown.clear()  # it is the parent's: the child would write that it is gone
        self.through.forget()
        for family in self.series.values():
            for series in family.values():
                series.disown()
        self._make_way()
        super().after_fork_in_child()

    def _make_way(self) -> None:
        with suppress(OSError):
            repaired = make_way(self._directory)
            if repaired:
                with self.through.turn() as is_ours:
                    if is_ours:
                        self.in_file(FILES_SKIPPED, ()).inc(repaired)


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


def are_written(series: Iterable[object]) -> bool:
    """Whether all of these are series of such a store."""
    return {*map(type, series)} <= {_WrittenCounter, _WrittenGauge, _WrittenHistogram}


class _WrittenCounter(StoredCounter):
    __slots__ = ("_base", "_find", "_own_from", "_through", "_value")

    def __init__(self, store: MultiprocessStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self._through = store.through
        self._find: Callable[[], Any] = partial(store.in_file, metric, values)
        self._value: Any = None
        self._own_from = 0.0
        """What of it is the parent's, in a child of a fork."""
        self._base: float | None = None
        """What the file had more than what is in memory when this process began to write."""

    @property
    def is_in_file(self) -> bool:
        return self._value is not None

    def inc(self, amount: float = 1.0) -> None:
        if not amount >= 0:
            raise ValueError(f"a counter cannot be incremented by {amount}")
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.value += amount
            self._through.write(self)

    def reset(self) -> None:  # of this process; the files of others are theirs
        super().reset()
        self._through.write(self)

    def write(self) -> None:
        if self._base is None:
            if self._value is None:
                self._value = self._find()._value
            self._base = self._value.get() - self._own_from
        # Not added to it: who is told to stop in the middle of this does it again.
        self._value.set(self._base + self.value)

    def disown(self) -> None:
        self._own_from, self._base = self.value, None


class _WrittenGauge(StoredGauge):
    __slots__ = ("_file", "_find", "_through")

    def __init__(self, store: MultiprocessStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self._through = store.through
        self._find: Callable[[], Any] = partial(store.in_file, metric, values)
        self._file: Any = None

    @property
    def is_in_file(self) -> bool:
        return self._file is not None

    def set(self, value: float) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.value = value
            self._through.write(self)

    def inc(self, amount: float = 1.0) -> None:
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.value += amount
            self._through.write(self)

    def dec(self, amount: float = 1.0) -> None:
        self.inc(-amount)

    def reset(self) -> None:
        super().reset()
        self._through.write(self)

    def write(self) -> None:
        if self._file is None:
            self._file = self._find()
        self._file.set(self.value)

    def disown(self) -> None:
        """What the parent has set is in its own file."""


class _WrittenHistogram(StoredHistogram):
    __slots__ = ("_bases", "_changed", "_file", "_find", "_own_from", "_through")

    def __init__(self, store: MultiprocessStore, metric: Metric, values: tuple[str, ...]) -> None:
        self._file: Any = None
        super().__init__(store, metric, values)
        self._through = store.through
        self._find: Callable[[], Any] = partial(store.in_file, metric, values)
        self._changed: set[int] = set()
        """Buckets whose count in the file may not be that in memory."""
        self._own_from: tuple[float, ...] = (0.0,) * (1 + len(self.counts))
        """The sum and the counts that are the parent's, in a child of a fork."""
        self._bases: tuple[float, ...] = ()
        """What the file had more of them when this process began to write."""

    @property
    def is_in_file(self) -> bool:
        return self._file is not None

    def observe(self, value: float) -> None:
        if value != value:
            raise ValueError("a histogram cannot observe NaN")
        if not NOTICED[0]:
            notice_fork()
        with self.lock:
            self.count(value)
            self._through.write(self)

    def count(self, value: float) -> None:
        """Observe it in memory alone."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.sum += value
        self._changed.add(bucket)

    def reset(self) -> None:
        super().reset()
        if self._file is not None:  # it is while the series is made: the file keeps what it has
            self._changed.update(range(len(self.counts)))
            self._through.write(self)

    def write(self) -> None:
        if not self._bases:
            if self._file is None:
                self._file = self._find()
            in_file = (self._file._sum.get(), *(each.get() for each in self._file._buckets))
            self._bases = tuple(map(sub, in_file, self._own_from))
        bases = self._bases
        self._file._sum.set(bases[0] + self.sum)
        while self._changed:
            bucket = self._changed.pop()
            self._file._buckets[bucket].set(bases[1 + bucket] + self.counts[bucket])

    def disown(self) -> None:
        self._changed.clear()
        self._own_from, self._bases = (self.sum, *self.counts), ()
