"""How many tasks wait in the queues of a broker, read when somebody collects, in a thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple

from celery import Celery
from kombu.transport.virtual import Channel as VirtualChannel

from agentmetrics import ConfigurationError, Metric, Recorder
from agentmetrics.plugin import (
    ForkAware,
    Instruments,
    LogOnce,
    add_rows,
    notice_fork,
    pipeline_for,
    renewed_lock,
    row,
    watch_forks,
)

QUEUE_LENGTH = row("celery_queue_length")
UNACKNOWLEDGED = Metric(
    "celery_tasks_unacknowledged",
    "gauge",
    "Tasks that workers have taken from any queue and not acknowledged yet; on Redis.",
    (),
    "tasks",
    merge="last",
)
add_rows(UNACKNOWLEDGED)
WAIT_SECONDS = 0.5
"""How long a collection waits for the broker, at most."""
FRESH_SECONDS = 1.0
"""How long what was read answers further collections, before the broker is asked again."""
KEPT_SECONDS = 5.0
"""How long it still does while a broker takes its time."""
BROKER_TIMEOUT_SECONDS = 5.0
"""After how long a broker that does not answer is given up, by the thread that asks it."""

_TIMEOUTS: dict[str, tuple[str, ...]] = {
    "redis": ("socket_connect_timeout", "socket_timeout"),
    "amqp": ("read_timeout", "write_timeout"),
}
"""kombu's options for that, by kind of broker; a connection itself has a time limit in both."""

Names = Callable[[], Iterable[str]]


def observe_queues(app: Celery, queues: Sequence[str], *, recorder: Recorder | None = None) -> None:
    """Show ``celery_queue_length`` of these queues in this process, whether it is a worker or not.

    A worker that is instrumented does so by itself. Call it after ``configure()``, in one process
    that has no workers under it, to see a backlog also while all workers are down.

    Raises ``ConfigurationError``.
    """
    names = checked(queues)
    pipeline = pipeline_for(recorder)
    pipeline.meter(QueueMeter).add(QueueReader(app, lambda: names))
    pipeline.recorder.flush()  # a process that records nothing else writes to its files from now on


def checked(queues: Sequence[str]) -> tuple[str, ...]:
    """Names of queues. Raises ``ConfigurationError`` for what is no list of names."""
    if isinstance(queues, str) or not all(isinstance(name, str) and name for name in queues):
        raise ConfigurationError(
            f"queues={queues!r} is not a list of queue names: write queues=['celery']"
        )
    return tuple(queues)


class Backlog(NamedTuple):
    """What a broker says: the lengths by queue, and what workers hold; ``None`` where it cannot."""

    lengths: dict[str, float]
    unacknowledged: float | None


NOTHING = Backlog({}, None)


class QueueMeter:
    """The gauges of queues, read from every reader that was added to it."""

    def __init__(self, make: Instruments) -> None:
        self._readers: list[QueueReader] = []
        make.observe(QUEUE_LENGTH, self._lengths)
        make.observe(UNACKNOWLEDGED, self._unacknowledged)

    def add(self, reader: QueueReader) -> None:
        self._readers.append(reader)

    def _lengths(self) -> dict[tuple[str, ...], float]:
        return {
            (name,): length
            for backlog in self._backlogs()
            for name, length in backlog.lengths.items()
        }

    def _unacknowledged(self) -> dict[tuple[str, ...], float]:
        known = [b.unacknowledged for b in self._backlogs() if b.unacknowledged is not None]
        return {(): sum(known)} if known else {}

    def _backlogs(self) -> list[Backlog]:
        deadline = monotonic() + WAIT_SECONDS
        return [reader.backlog(deadline) for reader in self._readers]


class QueueReader(ForkAware):
    """The lengths of some queues of one app's broker, in the process that made it alone.

    The broker is asked over a connection of its own, in a daemon thread that begins when somebody
    wants to know and ends with the answer; there is never more than one. One that is away, or
    frozen, keeps that thread waiting and nobody else.
    """

    def __init__(self, app: Celery, names: Names) -> None:
        self._app, self._names = app, names
        self._is_owner = True
        self._lock = renewed_lock()
        self._backlog = NOTHING
        self._read_at = -KEPT_SECONDS
        self._done: threading.Event | None = None
        self._began = 0.0
        self._broker: _Broker | None = None
        self._problems = LogOnce()
        watch_forks(self)

    def backlog(self, deadline: float) -> Backlog:
        """What the broker says; nothing where it has not answered by ``deadline``."""
        notice_fork()
        if not self._is_owner:
            return NOTHING
        with self._lock:
            now = monotonic()
            if self._done is None and now - self._read_at >= FRESH_SECONDS:
                self._begin(now)
            done, began = self._done, self._began
        if done is not None:
            # Who comes later does not wait again for what others have waited for.
            done.wait(max(0.0, min(deadline, began + WAIT_SECONDS) - monotonic()))
        return self._backlog if monotonic() - self._read_at < KEPT_SECONDS else NOTHING

    def _begin(self, now: float) -> None:
        done = threading.Event()
        threading.Thread(
            target=self._read, args=(done,), name="agentmetrics-queues", daemon=True
        ).start()
        self._done, self._began = done, now

    def _read(self, done: threading.Event) -> None:
        try:
            self._broker = self._broker or _Broker(self._app)
            self._backlog = Backlog(
                self._broker.lengths(self._names(), self._problems), self._broker.unacknowledged()
            )
            self._problems.over("broker")
        except Exception as error:
            self._backlog = NOTHING
            if self._broker is not None:
                self._broker.close()
                self._broker = None
            self._problems.warn(
                "broker",
                "the broker of Celery does not say how long its queues are (%s): "
                "celery_queue_length is left out until it does",
                type(error).__name__,
            )
        finally:
            with self._lock:
                self._read_at, self._done = monotonic(), None
            done.set()

    def after_fork_in_child(self) -> None:
        self._is_owner = False  # and leave the connection alone: it is the parent's


class _Broker:
    """A connection to the broker of an app, for questions about its queues."""

    def __init__(self, app: Celery) -> None:
        self._connection: Any = app.connection_for_read(connect_timeout=BROKER_TIMEOUT_SECONDS)
        for option in _TIMEOUTS.get(self._connection.transport.driver_type, ()):
            self._connection.transport_options.setdefault(option, BROKER_TIMEOUT_SECONDS)
        self._channel: Any = None
        self.close = weakref.finalize(self, _release, self._connection)
        self.close.atexit = False  # a child of a fork would end the parent's connection

    def lengths(self, names: Iterable[str], problems: LogOnce) -> dict[str, float]:
        found = {name: self._length(name) for name in names}
        for name, length in found.items():
            if length is None:
                problems.warn(name, "there is no queue %r: it has no celery_queue_length", name)
            else:
                problems.over(name)
        return {name: length for name, length in found.items() if length is not None}

    def unacknowledged(self) -> float | None:
        """What workers have taken and not acknowledged, of all queues; only kombu's Redis keeps
        it where others can read it."""
        key = getattr(self._open_channel(), "unacked_key", None)
        return None if key is None else float(self._channel.client.hlen(key))

    def _open_channel(self) -> Any:
        if self._channel is None:
            self._channel = self._connection.channel()
        return self._channel

    def _length(self, name: str) -> float | None:
        """What is ready in a queue, of every priority; ``None`` when there is no such queue."""
        self._open_channel()
        is_virtual = isinstance(self._channel, VirtualChannel)
        if is_virtual:  # kombu's passive declare overlooks Redis' `global_keyprefix`
            return float(self._channel._size(name))
        try:
            return float(self._channel.queue_declare(queue=name, passive=True).message_count)
        except self._connection.channel_errors:
            self._channel = None  # the broker has closed it
            return None


def _release(connection: Any) -> None:
    with suppress(Exception):  # it is broken, as likely as not
        connection.release()
