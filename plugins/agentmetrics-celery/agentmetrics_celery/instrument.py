"""``instrument_app``: Celery's signals, in every process of a worker and in those that send tasks.

Who counts an attempt, so that it counts once whatever happens to it: the process that runs it, when
``task_postrun`` tells of its end; the worker's main process, for what ended without one, since the
child that ran it is gone or it never began.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from billiard import current_process
from celery import Celery, current_app, signals
from celery.concurrency.prefork import TaskPool as PreforkPool
from celery.exceptions import Ignore, Reject, Retry, TimeLimitExceeded, WorkerLostError
from celery.local import Proxy
from celery.utils.time import maybe_make_aware

from agentmetrics import ConfigurationError, Recorder
from agentmetrics.plugin import (
    Pipeline,
    QuietLogger,
    pipeline_for,
    prometheus_recorder,
    start_http_server_in_thread,
)
from agentmetrics_celery.queues import QueueMeter, QueueReader, checked
from agentmetrics_celery.tasks import ERROR, IGNORED, REJECTED, RETRY, REVOKED, SUCCESS, TaskMeter

logger = QuietLogger("agentmetrics")

UNKNOWN = "unknown"
"""The ``task_name`` of messages that name no task of this worker."""
DUE = "agentmetrics_due"
"""The header of a message that says when its task is due, in Unix time."""

_STATUS_OF = {
    "SUCCESS": SUCCESS,
    "FAILURE": ERROR,
    "RETRY": RETRY,
    "REJECTED": REJECTED,
    "IGNORED": IGNORED,
}

Handler = Callable[..., None]


def instrument_app(
    app: Celery,
    *,
    recorder: Recorder | None = None,
    queues: Sequence[str] | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
) -> None:
    """Record the tasks of ``app`` in ``recorder``, by default the configured one.

    Call it where the app is made, so that workers and the programs that send tasks both do. The
    main process of a worker shows the length of ``queues``: by default of those it takes tasks
    from, of none with ``queues=()``. With a ``port`` it also serves ``/metrics`` there.

    Calling it again changes nothing. Raises ``ConfigurationError`` when it is called with other
    arguments than before, on arguments that cannot be used, and with a ``port`` when there is no
    Prometheus recorder.
    """
    if isinstance(app, Proxy):
        app = app._get_current_object()
    if not isinstance(app, Celery):
        raise ConfigurationError(
            f"instrument_app() takes a Celery app, not {type(app).__name__}: "
            "write instrument_app(Celery('tasks'))"
        )
    names = None if queues is None else checked(queues)
    pipeline_for(recorder)  # settings that cannot be used stop the program here
    if port is not None:
        prometheus_recorder(recorder)
    asked = (recorder, names, port, host)
    known = _instrumented.get(app)
    if known is None:
        known = _instrumented[app] = _Instrumentation(app, *asked)
        known.connect()
    elif known.asked != asked:
        raise ConfigurationError(
            "this Celery app is instrumented already, with other arguments: "
            "call instrument_app() once, and pass a FanoutRecorder for several recorders"
        )


def _recorded(handle: Handler) -> Handler:
    """A receiver of a signal whose failures are counted, and are not Celery's concern."""

    @wraps(handle)
    def receive(self: _Instrumentation, sender: Any = None, **told: Any) -> None:
        try:
            handle(self, sender, **told)
        except Exception as problem:
            with suppress(Exception):
                pipeline_for(self.recorder).failed(f"celery{handle.__name__}", problem)

    return receive


class _Instrumentation:
    """What an app's signals lead to."""

    def __init__(
        self,
        app: Celery,
        recorder: Recorder | None,
        queues: tuple[str, ...] | None,
        port: int | None,
        host: str,
    ) -> None:
        self.asked = (recorder, queues, port, host)
        self.recorder = recorder
        self._app = app
        self._used: tuple[Pipeline, TaskMeter] | None = None

    def connect(self) -> None:
        for signal, receive in (
            (signals.before_task_publish, self._publish),
            (signals.task_prerun, self._prerun),
            (signals.task_postrun, self._postrun),
            (signals.task_internal_error, self._internal_error),
            (signals.task_failure, self._failure),
            (signals.task_retry, self._retry),
            (signals.task_revoked, self._revoked),
            (signals.task_unknown, self._not_run),
            (signals.task_rejected, self._not_run),
            (signals.worker_ready, self._worker_ready),
            (signals.worker_process_init, self._process_init),
        ):
            # Some versions of Celery take the methods of two objects for one receiver.
            signal.connect(receive, weak=False, dispatch_uid=f"agentmetrics-{id(self)}")

    def _meter(self) -> TaskMeter:
        pipeline, used = pipeline_for(self.recorder), self._used
        if used is None or used[0] is not pipeline:
            used = self._used = (pipeline, pipeline.meter(TaskMeter))
        return used[1]

    # In the process that sends a task

    @_recorded
    def _publish(self, _: Any, /, *, headers: Any = None, **__: Any) -> None:
        if isinstance(headers, dict):
            headers[DUE] = self._due(headers.get("eta"))

    def _due(self, eta: str | None) -> float:
        now = time.time()
        if not eta:
            return now
        due: datetime = maybe_make_aware(datetime.fromisoformat(eta), self._app.timezone)
        return max(now, due.timestamp())

    # In the process that runs a task

    @_recorded
    def _prerun(self, task: Any, /, **_: Any) -> None:
        if task.app is not self._app:
            return
        request, meter = task.request_stack.top, self._meter()
        meter.begin(id(request), task.name, sys.exc_info()[1])
        due = getattr(request, DUE, None)
        # Nobody knows since when a message waits that was delivered before.
        if due is not None and not (request.delivery_info or {}).get("redelivered"):
            meter.waited(task.name, max(0.0, time.time() - due))

    @_recorded
    def _postrun(self, task: Any, /, *, state: str | None = None, **_: Any) -> None:
        meter = self._meter()
        attempt = meter.take(id(task.request_stack.top))
        if attempt is None:
            return
        escaping = sys.exc_info()[1]
        if escaping is attempt.handled:
            status = _STATUS_OF.get(state or "")
        else:
            status = self._status_escaping(escaping)
        if status is None:
            meter.stopped(attempt)
        else:
            meter.ended(attempt, status)

    def _status_escaping(self, error: BaseException | None) -> str | None:
        """The status of a task that is left by an error; ``None`` where a signal that follows
        tells it."""
        if isinstance(error, MemoryError | Reject):
            return _status_of(error)
        if isinstance(error, Exception):
            return None  # task_internal_error
        if type(error).__name__ == "GreenletExit":
            return None  # task_revoked
        # A child ends with it, which the main process hears of.
        return ERROR if current_process().name == "MainProcess" else None

    @_recorded
    def _internal_error(self, task: Any, /, *, exception: BaseException, **_: Any) -> None:
        if task.app is self._app:
            self._meter().count(task.name, _status_of(exception))

    # In the main process, for a child that is gone and for tasks that never begin

    @_recorded
    def _failure(
        self, task: Any, /, *, exception: BaseException, traceback: Any = None, **_: Any
    ) -> None:
        # From Celery 5.7 a hard time limit is told twice, and only once with a traceback in text.
        if isinstance(exception, WorkerLostError) or (
            isinstance(exception, TimeLimitExceeded) and isinstance(traceback, str)
        ):
            self._count_unless_open(task, ERROR)

    @_recorded
    def _retry(self, task: Any, /, **_: Any) -> None:
        self._count_unless_open(task, RETRY)

    def _count_unless_open(self, task: Any, status: str) -> None:
        if task.app is self._app and not self._meter().is_open(id(task.request_stack.top)):
            self._meter().count(task.name, status)

    @_recorded
    def _revoked(self, task: Any, /, **_: Any) -> None:
        if task.app is self._app:
            self._meter().count(task.name, REVOKED)

    @_recorded
    def _not_run(self, consumer: Any, /, **_: Any) -> None:
        if consumer.app is self._app:
            self._meter().count(UNKNOWN, REJECTED)

    # A worker's beginning and end

    @_recorded
    def _process_init(self, _: Any, /, **__: Any) -> None:
        worker_app = current_app._get_current_object()
        if worker_app.main == self._app.main:
            self._app = worker_app  # a child that was spawned has a copy of the app

    @_recorded
    def _worker_ready(self, consumer: Any, /, **_: Any) -> None:
        if consumer.app is not self._app:
            return
        queues, port, host = self.asked[1:]
        for name in self._app.tasks:
            if not name.startswith("celery."):  # Celery's own
                self._meter().expect(name)
        if queues is None or queues:
            reader = QueueReader(self._app, lambda: queues or list(self._consumed()))
            pipeline_for(self.recorder).meter(QueueMeter).add(reader)
        if isinstance(consumer.pool, PreforkPool):
            self._warn_of_one_process()
        if port is not None:
            self._serve(host, port)

    def _consumed(self) -> Sequence[str]:
        return tuple(self._app.amqp.queues.consume_from)

    def _warn_of_one_process(self) -> None:
        try:
            prometheus = prometheus_recorder(self.recorder)
        except (ConfigurationError, ModuleNotFoundError):
            return
        if prometheus.scraped is prometheus.registry:
            logger.warning(
                "each child of this worker has metrics of its own, which nobody scrapes: set "
                "PROMETHEUS_MULTIPROC_DIR to an empty directory before the worker starts"
            )

    def _serve(self, host: str, port: int) -> None:
        try:
            start_http_server_in_thread(self.recorder, host=host, port=port)
        except OSError as error:  # no reason for a worker not to work
            logger.error("%s", error.strerror)


def _status_of(error: BaseException) -> str:
    if isinstance(error, Retry):
        return RETRY
    if isinstance(error, Reject):
        return REJECTED
    return IGNORED if isinstance(error, Ignore) else ERROR


_instrumented: WeakKeyDictionary[Celery, _Instrumentation] = WeakKeyDictionary()
