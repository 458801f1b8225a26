"""The StatsD backend: series aggregated in the process and flushed to a daemon every second."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from agentmetrics.backends.statsd_delivery import PROTOCOLS, Delivery
from agentmetrics.backends.statsd_store import SentCounter, SentGauge, StatsDStore
from agentmetrics.recording.batches import slots_batch
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.fork import ForkAware, watch_forks
from agentmetrics.recording.health import PACKETS_DROPPED
from agentmetrics.recording.instruments import Batch, CounterSeries, GaugeSeries, HistogramSeries
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.store import (
    StoredCounter,
    StoredGauge,
    StoredHistogram,
    StoreRecorder,
)

if TYPE_CHECKING:
    from typing_extensions import Self


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

    ``prefix`` is the first part of every name and may contain dots; ``protocol`` is ``udp`` or
    ``tcp``. Nothing is resolved or connected here: an unreachable daemon, now or later, is logged
    once and its packets are counted in ``agentmetrics_packets_dropped_total``. The thread starts
    with the first series. Unsent values are sent at ``close`` and when the program ends.

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
        if not {*map(type, slots)} <= {SentCounter, SentGauge}:
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
                close_at_exit(self)
                try:
                    self._periodic = PeriodicFlush(self, self._interval)
                except RuntimeError as error:  # the system, or a program at its exit, has no more
                    self._log_once("thread", f"the StatsD thread could not be started: {error}")

    def flush(self) -> None:
        """Send what has not been sent yet, and every gauge; takes at most six seconds, without a
        daemon.

        Inside ``update()`` this is left to the thread, because the update is not finished.
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
        self._problems.warn(
            kind, "%s; packets that cannot be sent are dropped and counted", sentence
        )

    def probe(self, timeout_seconds: float = 2.0) -> str | None:
        """Test the connection to the daemon; ``None`` if it works, else a sentence that says why
        not.

        Over UDP this only means that the host resolves and refuses no datagram: nothing more can be
        known. Uses its own socket.
        """
        return self._new_delivery().probe(timeout_seconds)

    def close(self) -> None:
        with self.store.lock:
            if self._closed:
                return
            self._closed = True
        skip_at_exit(self)
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
        raise ValueError(f"the StatsD port is {port}; it must be a number from 1 to 65535")
    if protocol not in PROTOCOLS:
        raise ValueError(f"the StatsD protocol is {protocol!r}; use {' or '.join(PROTOCOLS)}")
    if not 0 < interval < threading.TIMEOUT_MAX:
        raise ValueError(f"the StatsD flush interval is {interval}; it must be above 0 seconds")
