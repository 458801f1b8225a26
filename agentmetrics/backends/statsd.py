"""The StatsD backend: series aggregated in the process and flushed to a daemon every second."""

from __future__ import annotations

import atexit
import math
import os
import random
import re
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from agentmetrics.backends.statsd_delivery import PROTOCOLS, Delivery
from agentmetrics.recording.fork import ForkAware, watch_forks
from agentmetrics.recording.health import PACKETS_DROPPED
from agentmetrics.recording.instruments import Batch, CounterSeries, GaugeSeries, HistogramSeries
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.store import (
    Store,
    StoredCounter,
    StoredGauge,
    StoredHistogram,
    StoreRecorder,
    slots_batch,
)

if TYPE_CHECKING:
    from typing_extensions import Self

SAMPLE_SIZE = 512
"""Values of one histogram series that a flush sends; of more, a uniform sample and its rate."""
MAX_TIMER = 1e300
"""Far from where milliseconds overflow."""
EMPTY = "none"
"""The component of a name that stands for an empty label value."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def path_of(prefix: str, name: str, values: Sequence[str]) -> str:
    """A series' name: ``prefix.metric_name.value1.value2``, label values in the metric's order.

    What StatsD or Graphite would misread becomes ``_``, and an empty value ``none``.
    """
    parts = [part for part in prefix.split(".") if part]
    return ".".join(_UNSAFE.sub("_", part or EMPTY) for part in (*parts, name, *values))


def number_text(value: float) -> str:
    """A finite number in plain digits, as many as tell it from its neighbours.

    Never with an exponent: in a sample rate the daemon reads ``@1e-05`` as 1, and other daemons
    know no exponents at all.
    """
    value = float(value)
    if value.is_integer():
        return str(int(value))
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


@dataclass(slots=True)
class Changes:
    """What one flush sends, by the name of the series."""

    counters: list[tuple[str, float]] = field(default_factory=list)
    gauges: list[tuple[str, float]] = field(default_factory=list)
    timers: list[tuple[str, bool, list[float], int]] = field(default_factory=list)

    def entries(self) -> Iterator[str]:
        """Lines of the protocol; lines that must travel together are one entry.

        Values that StatsD has no way to say (infinite, not a number) are left out.
        """
        for path, difference in self.counters:
            if math.isfinite(difference):
                yield f"{path}:{number_text(difference)}|c"
        for path, value in self.gauges:
            if _is_finite(value):
                # With a sign it would be a step, unless the gauge stands at 0.
                zero = f"{path}:0|g\n" if value < 0 else ""
                yield f"{zero}{path}:{number_text(value)}|g"
        for path, in_seconds, sample, seen in self.timers:
            rate = f"|@{number_text(len(sample) / seen)}" if seen > len(sample) else ""
            for value in map(_milliseconds, sample) if in_seconds else sample:
                yield f"{path}:{number_text(value)}|ms{rate}"


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 6)  # to the nanosecond, which is what clocks have


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False  # a gauge takes what it is given; a flush has to survive it


class _Counter(StoredCounter):
    __slots__ = ("path", "sent")

    def __init__(self, store: StatsDStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.path = path_of(store.prefix, metric.name, values)
        self.sent = 0.0

    def reset(self) -> None:
        self.value = self.sent = 0.0

    def take(self, changes: Changes) -> None:
        if self.value != self.sent:
            changes.counters.append((self.path, self.value - self.sent))
            self.sent = self.value

    def disown(self) -> None:
        self.sent = self.value


class _Gauge(StoredGauge):
    __slots__ = ("inherited", "path")

    def __init__(self, store: StatsDStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.path = path_of(store.prefix, metric.name, values)
        self.inherited: object = None

    def take(self, changes: Changes) -> None:
        if self.value is not self.inherited:
            changes.gauges.append((self.path, self.value))

    def disown(self) -> None:
        # An object of its own, which nobody can set the gauge to: so long as it is the value,
        # the child has said nothing, and the parent's later values stand.
        self.value = float(self.value) + 0.0 if _is_finite(self.value) else 0.0
        self.inherited = self.value


class _Timer(StoredHistogram):
    """A histogram that also keeps the values since the last flush, or a uniform sample of them."""

    __slots__ = ("in_seconds", "path", "sample", "seen")

    def __init__(self, store: StatsDStore, metric: Metric, values: tuple[str, ...]) -> None:
        super().__init__(store, metric, values)
        self.path = path_of(store.prefix, metric.name, values)
        self.in_seconds = metric.unit == "seconds"

    def observe(self, value: float) -> None:
        if value != value:
            raise ValueError("a histogram cannot observe NaN")
        with self.lock:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value
            if not 0 <= value <= MAX_TIMER:
                return  # the daemon takes no such timer
            self.seen += 1
            if self.seen <= SAMPLE_SIZE:
                self.sample.append(value)
            elif (place := int(random.random() * self.seen)) < SAMPLE_SIZE:
                self.sample[place] = value

    def reset(self) -> None:
        super().reset()
        self.disown()

    def take(self, changes: Changes) -> None:
        if self.seen:
            changes.timers.append((self.path, self.in_seconds, self.sample, self.seen))
            self.disown()

    def disown(self) -> None:
        self.sample: list[float] = []
        self.seen = 0


class StatsDStore(Store):
    """A store that knows what it has given out for sending."""

    def __init__(self, prefix: str) -> None:
        super().__init__(_Counter, _Gauge, _Timer)
        self.prefix = prefix
        self.taken: deque[Changes] = deque()

    def take(self) -> None:
        """Put on ``taken`` what changed since the last time, and every gauge, of one moment."""
        observed = {metric.name: series for metric, series in self.observed()}
        changes = Changes()
        with self.lock:
            for name, family in self.series.items():
                if observed.get(name):
                    continue
                for series in family.values():
                    series.take(changes)
            for name, values in observed.items():
                changes.gauges += [(path_of(self.prefix, name, v), n) for v, n in values]  # type: ignore[misc]
            self.taken.append(changes)

    def disown(self) -> None:
        """Forget what is not sent: after a fork it is the parent's to send."""
        self.taken.clear()
        for family in self.series.values():
            for series in family.values():
                series.disown()


class StatsDSettings(Protocol):
    """The fields of ``agentmetrics.Settings`` that are StatsD's."""

    @property
    def statsd_host(self) -> str: ...
    @property
    def statsd_port(self) -> int: ...
    @property
    def statsd_prefix(self) -> str: ...
    @property
    def statsd_protocol(self) -> str: ...
    @property
    def statsd_flush_interval(self) -> float: ...


class StatsDRecorder(StoreRecorder, ForkAware):
    """A recorder that sends to a StatsD daemon every ``flush_interval_seconds``.

    ``prefix`` is the first part of every name and may have several with dots between;
    ``protocol`` is ``udp`` or ``tcp``. Nothing is resolved or connected here: a daemon that is
    away, then or later, is logged once and its packets count in
    ``agentmetrics_packets_dropped_total``. The thread begins with the first series. What is not
    sent yet at ``close``, and at the exit of the program, is sent then.

    Raises ``ValueError`` on an argument that can never work.
    """

    store: StatsDStore

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8125,
        prefix: str = "",
        protocol: str = "udp",
        flush_interval_seconds: float = 1.0,
    ) -> None:
        _check(host, port, protocol, flush_interval_seconds)
        super().__init__(StatsDStore(prefix))
        self._interval = flush_interval_seconds
        self._new_delivery: Callable[[], Delivery] = lambda: Delivery(host, port, protocol)
        self._delivery = self._new_delivery()
        self._sending = threading.Lock()
        self._periodic: PeriodicFlush | None = None
        self._closed = False
        self._problems = LogOnce()
        self._pid = os.getpid()
        watch_forks(self)

    @classmethod
    def from_settings(cls, settings: StatsDSettings) -> Self:
        return cls(
            settings.statsd_host,
            settings.statsd_port,
            settings.statsd_prefix,
            settings.statsd_protocol,
            settings.statsd_flush_interval,
        )

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> StoredCounter:
        self._begin()
        return super().bind_counter(metric, values)

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> StoredGauge:
        self._begin()
        return super().bind_gauge(metric, values)

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> StoredHistogram:
        self._begin()
        return super().bind_histogram(metric, values)

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        slots = (*adds, *sets)
        if not {*map(type, slots)} <= {_Counter, _Gauge}:
            return super().batch(adds, sets, observations)
        update_slots = slots_batch(len(adds), len(sets), 0)(*slots)
        observes = [series.observe for series in observations]
        split = len(slots)

        def apply(*values: float) -> None:
            update_slots(*values[:split])
            for observe, value in zip(observes, values[split:], strict=True):
                observe(value)

        return apply

    def _begin(self) -> None:
        """Start the thread; not before the first series, so a preloading server forks without."""
        if self._periodic is not None or self._closed:
            return
        with self.store.lock:
            if self._periodic is None and not self._closed:
                _open.add(self)
                try:
                    self._periodic = PeriodicFlush(self, self._interval)
                except RuntimeError as error:  # the system, or a program at its exit, has no more
                    self._log_once("thread", f"the StatsD thread could not start: {error}")

    def flush(self) -> None:
        """Send what is not sent yet, and every gauge; six seconds at the worst, with no daemon.

        Inside ``update()`` it leaves that to the thread: the step is not over.
        """
        if not self._closed and not self._is_updating():
            self._flush()

    def _is_updating(self) -> bool:
        return bool(self.store.lock._is_owned())  # type: ignore[attr-defined]

    def _flush(self) -> None:
        try:
            self._notice_fork()
            self.store.take()
            # The store's lock is never taken under this one: sending holds up no update.
            with self._sending:
                lost = self._send_taken()
                failures, self._delivery.failures = self._delivery.failures, []
            if lost:
                self._count_lost(lost)
            for failure in failures:
                kind = f"{type(failure).__name__} {failure.errno}"
                self._log_once(kind, self._delivery.sentence(failure))
        except Exception as error:
            kind = type(error).__name__
            self._log_once(kind, f"a StatsD flush failed: {kind}")

    def _send_taken(self) -> int:
        lost = 0
        while self.store.taken:
            lost += self._delivery.send(list(self.store.taken.popleft().entries()))
        return lost

    def _count_lost(self, packets: int) -> None:
        # Through the layers around, whose names and labels it has, and to the backends beside.
        self.outermost().counter(PACKETS_DROPPED).labels("statsd").inc(packets)

    def _log_once(self, kind: str, sentence: str) -> None:
        self._problems.warn(kind, "%s; what cannot be sent is dropped and counted", sentence)

    def probe(self, timeout_seconds: float = 2.0) -> str | None:
        """Try the way to the daemon; ``None`` when it is fine, else a sentence that says why not.

        Over UDP that means that the host resolves and refuses no datagram: nothing more can be
        known. Uses a socket of its own.
        """
        return self._new_delivery().probe(timeout_seconds)

    def close(self) -> None:
        with self.store.lock:
            if self._closed:
                return
            self._closed = True
        _open.discard(self)
        if self._periodic is not None:
            self._periodic.stop()
        self._flush()
        with self._sending:
            self._delivery.close()

    def after_fork_in_child(self) -> None:
        self._notice_fork()

    def _notice_fork(self) -> None:
        """In a forked child, let go of the parent's unsent changes, of its socket and its locks."""
        if self._pid == os.getpid():
            return
        with self.store.lock:
            if self._pid != os.getpid():
                self.store.disown()
                self._delivery.close()  # this process' copy of the socket alone
                self._delivery = self._new_delivery()
                self._sending = threading.Lock()
                self._pid = os.getpid()


def _check(host: str, port: int, protocol: str, interval: float) -> None:
    if not host:
        raise ValueError("the StatsD host is empty")
    if not 1 <= port <= 65535:
        raise ValueError(f"the StatsD port is {port}; a port is a number from 1 to 65535")
    if protocol not in PROTOCOLS:
        raise ValueError(f"the StatsD protocol is {protocol!r}; use {' or '.join(PROTOCOLS)}")
    if not 0 < interval < threading.TIMEOUT_MAX:
        raise ValueError(f"the StatsD flush interval is {interval}; it must be above 0 seconds")


_open: set[StatsDRecorder] = set()
"""Every recorder with series that is not closed: kept, for its last flush at exit."""


def _close_at_exit() -> None:
    for recorder in list(_open):
        recorder.close()


atexit.register(_close_at_exit)
