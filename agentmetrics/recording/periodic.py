"""A daemon thread that flushes at an interval, anew in every forked child."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Any, Protocol

from agentmetrics.recording.exits import look_for_ends
from agentmetrics.recording.fork import THREADS, ForkAware, watch_forks
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")


class Flushable(Protocol):
    def flush(self) -> None: ...


class PeriodicFlush(ForkAware):
    """Calls ``target.flush()`` every ``interval_seconds`` until stopped or the target is gone.

    Not in the master of uWSGI: see ``is_uwsgi_master``.
    """

    def __init__(self, target: Flushable, interval_seconds: float) -> None:
        self._target = weakref.ref(target)
        self._interval = interval_seconds
        self._is_running = True
        self._start()
        watch_forks(self, THREADS)
        look_for_ends()

    def _start(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=_run,
            args=(self._target, self._stopped, self._interval),
            name="agentmetrics-flush",
            daemon=True,
        )
        if not is_uwsgi_master():
            self._thread.start()

    def after_fork_in_child(self) -> None:
        if self._is_running:
            self._start()  # threads do not survive a fork

    def stop(self) -> None:
        """End the thread; returns when its last flush is over."""
        self._is_running = False
        self._stopped.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)


def is_uwsgi_master() -> bool:
    """Whether this is the master of uWSGI, which has loaded the program and forks its workers.

    It forks without holding Python's own lock. A worker that is forked while a thread of the master
    holds that lock finds it locked for ever, and answers nothing.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    return uwsgi is not None and bool(uwsgi.masterpid() == os.getpid())


def _run(
    target_ref: weakref.ref[Flushable], stopped: threading.Event, interval_seconds: float
) -> None:
    while not stopped.wait(interval_seconds):
        target = target_ref()
        if target is None:
            return
        look_for_ends()  # a server may have put its handlers there since
        try:
            target.flush()
        except Exception as error:  # the next flush may work
            logger.warning("a flush failed: %s", type(error).__name__)
        del target
