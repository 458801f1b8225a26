"""What backends that send lines to a daemon have in common: flushes, a thread, forks, the end."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from agentmetrics.backends.changes import Changes, SendingStore, SentCounter, SentGauge
from agentmetrics.backends.delivery import Delivery, Route
from agentmetrics.recording.batches import slots_batch
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.fork import ForkAware, notice_fork, renewed_lock, watch_forks
from agentmetrics.recording.health import PACKETS_DROPPED
from agentmetrics.recording.instruments import Batch, CounterSeries, GaugeSeries, HistogramSeries
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.recorder import Wanted
from agentmetrics.recording.store import (
    StoredCounter,
    StoredGauge,
    StoredHistogram,
    StoreRecorder,
)


class SendingRecorder(StoreRecorder, ForkAware):
    """A recorder that sends what has changed to a daemon every ``flush_interval_seconds``.

    ``route`` makes the way to the daemon, one for each process. Nothing is resolved or connected
    before the first flush: an unreachable daemon, now or later, is logged once and its packets are
    counted in ``agentmetrics_packets_dropped_total``. The thread starts with the first series.
    Unsent values are sent at ``close`` and when the program ends.

    Raises ``ValueError`` on an interval that can never work.
    """

    store: SendingStore
    backend: ClassVar[str]
    """Its name among backends: the label of the packets that it drops."""
    daemon: ClassVar[str]
    """What its daemon is called, in sentences."""

    def __init__(
        self, store: SendingStore, route: Callable[[], Route], flush_interval_seconds: float
    ) -> None:
        if not 0 < flush_interval_seconds < threading.TIMEOUT_MAX:
            raise ValueError(
                f"the {self.daemon} flush interval is {flush_interval_seconds}; "
                "it must be above 0 seconds"
            )
        super().__init__(store)
        self._interval = flush_interval_seconds
        self._new_route = route
        self._delivery = Delivery(route())
        self._sending = renewed_lock()
        self._periodic: PeriodicFlush | None = None
        self._closed = False
        self._problems = LogOnce()
        watch_forks(self)

    @abstractmethod
    def entries(self, changes: Changes) -> Iterator[str]:
        """Lines of the protocol; lines that must travel together are one entry."""

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> StoredCounter:
        self._begin()
        return super().bind_counter(metric, values)

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> StoredGauge:
        self._begin()
        return super().bind_gauge(metric, values)

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> StoredHistogram:
        self._begin()
        return super().bind_histogram(metric, values)

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        self._begin()
        return self.store.bind_each(wanted)

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
                    self._log_once(
                        "thread", f"the {self.daemon} thread could not be started: {error}"
                    )

    def flush(self) -> None:
        """Send what has not been sent yet, and every gauge; takes at most six seconds, without a
        daemon.

        Inside ``update()`` this is left to the thread, because the update is not finished.
        """
        notice_fork()
        if not self._closed and not self._is_updating():
            self._flush()

    def _is_updating(self) -> bool:
        return bool(self.store.lock._is_owned())  # type: ignore[attr-defined]

    def _flush(self) -> None:
        try:
            self.store.take()
            # The store's lock is never taken under this one: sending holds up no update.
            with self._sending:
                lost = self._send_taken()
                failures, self._delivery.failures = self._delivery.failures, []
            if lost:
                self._count_lost(lost)
            for failure in failures:
                kind = f"{type(failure).__name__} {failure.errno}"
                self._log_once(kind, self._delivery.route.sentence(failure))
        except Exception as error:
            kind = type(error).__name__
            self._log_once(kind, f"a {self.daemon} flush failed: {kind}")

    def _send_taken(self) -> int:
        lost = 0
        while self.store.taken:
            lost += self._delivery.send(list(self.entries(self.store.taken.popleft())))
        return lost

    def _count_lost(self, packets: int) -> None:
        # Through the layers around, whose names and labels it has, and to the backends beside.
        self.outermost().counter(PACKETS_DROPPED).labels(self.backend).inc(packets)

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
        return Delivery(self._new_route()).probe(timeout_seconds)

    def close(self) -> None:
        notice_fork()
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
        """Let go of the parent's unsent changes and of its socket."""
        self.store.disown()
        self._delivery.close()  # this process' copy of the socket alone
        self._delivery = Delivery(self._new_route())
