"""Work with a deadline in threads of the system's, which need nothing that the program may hold."""

from __future__ import annotations

import _thread
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Job = Callable[[], None]


def run_all(jobs: Sequence[Job], seconds: float, patience_seconds: float) -> bool:
    """Run jobs that raise nothing, one after the other; ``False`` when ``seconds`` are not enough.

    One that takes longer than ``patience_seconds`` goes on beside the next. Where no thread can be
    started, at the exit of an interpreter, jobs run in this one, as long as they take.
    """
    deadline = time.monotonic() + seconds
    late = []
    for job in jobs:
        ended = _begin(job)
        if not ended.acquire(timeout=min(patience_seconds, _left(deadline))):
            late.append(ended)
    return all(ended.acquire(timeout=_left(deadline)) for ended in late)


def start(job: Job) -> bool:
    """Run a job in a thread of its own; ``False``, and nothing done, where there are no more."""
    try:
        _native("start_new_thread")(job, ())
    except RuntimeError:
        return False
    return True


def native_lock() -> Any:
    """A lock of the system's."""
    return _native("allocate_lock")()


def _begin(job: Job) -> Any:
    """Start a job; returns a lock that is free once it has ended."""
    running = native_lock()
    running.acquire()

    def work() -> None:
        try:
            job()
        finally:
            running.release()

    if not start(work):
        work()
    return running


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _native(name: str) -> Any:
    """What ``_thread`` has, also where gevent has put something of its own there.

    ``threading`` is no good here: it has locks that the thread may hold which waits.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original("_thread", name)
    return getattr(_thread, name)
