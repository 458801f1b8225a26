"""The meter of tasks: which are in progress in this process, and how they end."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

from agentmetrics.plugin import (
    Batch,
    Bundles,
    CounterSeries,
    ForkAware,
    Instruments,
    add_rows,
    notice_fork,
    row,
    watch_forks,
)

SUCCESS, ERROR, RETRY = "success", "error", "retry"
REVOKED, REJECTED, IGNORED = "revoked", "rejected", "ignored"
STATUSES = (SUCCESS, ERROR, RETRY, REVOKED, REJECTED, IGNORED)

TASKS = row("celery_tasks_total")
RETRIES = row("celery_task_retries_total")
DURATION = row("celery_task_duration_seconds")
WAIT = row("celery_task_wait_seconds")
ACTIVE = row("celery_tasks_active")
add_rows(TASKS, label_values={"status": STATUSES})


class Attempt(NamedTuple):
    """One execution of a task in this process."""

    task_name: str
    started: float
    handled: BaseException | None
    """What the program was handling when it began, as a caller of an eager task may."""


class TaskMeter(ForkAware):
    """The instruments of tasks, and the attempts that are open, by a key of the caller's."""

    def __init__(self, make: Instruments) -> None:
        self._tasks = make.counter(TASKS)
        self._retries = make.counter(RETRIES)
        self._durations = make.histogram(DURATION)
        self._waits = Bundles(make.histogram(WAIT).labels)
        self._batch, self._step = make.recorder.batch, make.recorder.update()
        self._max_names = make.max_series
        self._open: dict[int, Attempt] = {}
        self._seen: dict[tuple[str, ...], float] = {}
        self._expected = Bundles(self._zeros)
        self._endings = Bundles(self._bind)
        make.observe(ACTIVE, self._active)
        watch_forks(self)

    def _zeros(self, task_name: str) -> CounterSeries:
        """Show 0 of what alerts are about: a counter that appears at 1 has not increased."""
        for status in (SUCCESS, ERROR):
            self._tasks.labels(task_name, status)
        if len(self._seen) < self._max_names:
            self._seen[(task_name,)] = 0.0
        return self._retries.labels(task_name)

    def _bind(self, task_name: str, status: str) -> Batch:
        counter = self._tasks.labels(task_name, status)
        return self._batch((counter,), (), (self._durations.labels(task_name),))

    def _active(self) -> dict[tuple[str, ...], float]:
        active = dict(self._seen)
        for attempt in list(self._open.values()):
            labels = (attempt.task_name,)
            active[labels] = active.get(labels, 0.0) + 1.0
        return active

    def expect(self, task_name: str) -> None:
        """From now on show this task, with 0 while nothing has happened to it."""
        self._expected[(task_name,)]

    def begin(self, key: int, task_name: str, handled: BaseException | None) -> None:
        """A task begins in this process."""
        notice_fork()
        self._expected[(task_name,)]
        self._open[key] = Attempt(task_name, perf_counter(), handled)

    def waited(self, task_name: str, seconds: float) -> None:
        """It began so long after it was due."""
        self._waits[(task_name,)].observe(seconds)

    def is_open(self, key: int) -> bool:
        return key in self._open

    def take(self, key: int) -> Attempt | None:
        """Take an attempt out, to end it; ``None`` when nobody has seen it begin."""
        notice_fork()
        return self._open.pop(key, None)

    def ended(self, attempt: Attempt, status: str) -> None:
        """An attempt has ended, all of it recorded in one step."""
        record = self._endings[attempt.task_name, status]
        seconds = perf_counter() - attempt.started
        with self._step:
            record(1.0, seconds)
            if status == RETRY:
                self._expected[(attempt.task_name,)].inc()

    def stopped(self, attempt: Attempt) -> None:
        """An attempt is over, and somebody else counts how: its duration alone."""
        self._durations.labels(attempt.task_name).observe(perf_counter() - attempt.started)

    def count(self, task_name: str, status: str) -> None:
        """A task has ended that nobody here has measured."""
        notice_fork()
        retries = self._expected[(task_name,)]
        with self._step:
            self._tasks.labels(task_name, status).inc()
            if status == RETRY:
                retries.inc()

    def after_fork_in_child(self) -> None:
        self._open.clear()  # they go on in the parent
