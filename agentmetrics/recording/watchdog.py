"""Ends waits that have no deadline of their own: one daemon thread for all of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from agentmetrics.recording.fork import THREADS, ForkAware, renewed_lock, watch_forks
from agentmetrics.recording.periodic import is_uwsgi_master
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")


class Watchdog(ForkAware):
    """Calls somebody when something takes too long.

    Its thread is there for as long as anything is watched; from ``keep`` on, until the process
    ends. Not in the master of uWSGI: see ``is_uwsgi_master``.
    """

    def __init__(self) -> None:
        self._lock = renewed_lock()
        self._numbers = itertools.count()
        self._is_kept = False
        self._begin()
        watch_forks(self, THREADS)

    def _begin(self) -> None:
        self._watched: dict[int, tuple[float, Callable[[], None]]] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self) -> None:
        """Keep the thread: while a program ends, none can start (from Python 3.12 on)."""
        with self._lock:
            self._is_kept = True
            self._ensure_thread()

    @contextmanager
    def limit(self, seconds: float, cut: Callable[[], None]) -> Iterator[None]:
        """Call ``cut``, in another thread, when the block takes longer.

        It is not to wait for anything, and is not called any more once the block is over.
        """
        number = next(self._numbers)
        with self._lock:
            self._watched[number] = time.monotonic() + seconds, cut
            self._ensure_thread()
        self._changed.set()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(number, None)
            self._changed.set()

    def _ensure_thread(self) -> None:
        if self._thread is None and not is_uwsgi_master():
            thread = threading.Thread(target=self._run, name="agentmetrics-watchdog", daemon=True)
            with suppress(RuntimeError):  # the program ends: what waits has to end by itself
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                for number, (deadline, cut) in list(self._watched.items()):
                    if deadline <= now:
                        del self._watched[number]
                        _attempt(cut)
                if not self._watched and not self._is_kept:
                    self._thread = None
                    return
                deadlines = [deadline for deadline, _ in self._watched.values()]
            self._changed.wait(min(deadlines) - now if deadlines else None)
            self._changed.clear()

    def after_fork_in_child(self) -> None:
        self._begin()  # threads do not survive a fork, and what they waited for is the parent's
        if self._is_kept:
            self.keep()


def _attempt(cut: Callable[[], None]) -> None:
    try:
        cut()
    except Exception as error:
        logger.warning("a wait could not be ended: %s", type(error).__name__)


watchdog = Watchdog()
