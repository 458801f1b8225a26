"""Children of multiprocessing, and of billiard, its fork in Celery: they end with ``os._exit``.

Before that they run their finalizers, of which a new child has none but those that were made after
its start. A pool's worker of billiard runs none, but tells its end.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

LAST = -1_000_000
"""The priority of a finalizer that comes after those of the program, and after its children."""


class _Family:
    """The children of one package."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._is_following = False
        self._pid: int | None = None  # of the child that has its finalizer

    def hook(self, flush: Callable[[], None]) -> None:
        """Flush at the end of every child, and of this process if it is one."""
        util = sys.modules.get(f"{self._package}.util")
        process = sys.modules.get(f"{self._package}.process")
        current = getattr(process, "current_process", None)
        if current is None or not hasattr(util, "register_after_fork"):  # not, or not yet
            return
        if not self._is_following:
            self._is_following = True
            util.register_after_fork(self, lambda _: self._begin(flush))  # type: ignore[union-attr]
        if self._pid != os.getpid() and self.has_made_this_process():
            self._begin(flush)

    def has_made_this_process(self) -> bool:
        current = getattr(sys.modules.get(f"{self._package}.process"), "current_process", None)
        return current is not None and getattr(current(), "_parent_pid", None) is not None

    def _begin(self, flush: Callable[[], None]) -> None:
        self._pid = os.getpid()
        modules = sys.modules
        finalize = modules[f"{self._package}.util"].Finalize
        finalize(None, _flush_after_threads, (flush,), exitpriority=LAST)
        worker = getattr(modules[f"{self._package}.process"].current_process(), "_target", None)
        kind = getattr(modules.get(f"{self._package}.pool"), "Worker", None)  # of billiard alone
        if kind is not None and isinstance(worker, kind):
            worker.on_exit = _then(worker.on_exit, flush)


def _then(told: Callable[..., object] | None, flush: Callable[[], None]) -> Callable[..., None]:
    def end(*args: Any) -> None:
        try:
            if told is not None:
                told(*args)
        finally:
            flush()

    return end


def _flush_after_threads(flush: Callable[[], None]) -> None:
    """Flush, and once more when the threads have ended that the child waits for after this.

    So, too, where they have ended by then: what they did during the flush may be in none of it.
    """
    others = _other_threads()
    flush()
    others |= _other_threads()
    if not others:
        return

    def flush_last() -> None:
        for thread in others:
            thread.join()
        flush()

    threading.Thread(target=flush_last, name="agentmetrics-last-flush", daemon=False).start()


def _other_threads() -> set[threading.Thread]:
    """Those that the end of a process waits for, but the one that asks and the main one."""
    mine = threading.current_thread(), threading.main_thread()
    return {t for t in threading.enumerate() if t not in mine and not t.daemon}


_FAMILIES = _Family("multiprocessing"), _Family("billiard")


def hook(flush: Callable[[], None]) -> None:
    """Flush at the end of children of both packages, as far as the program has loaded them."""
    for family in _FAMILIES:
        family.hook(flush)


def is_child() -> bool:
    """Whether this process is a child of one of them, forked or not."""
    return any(family.has_made_this_process() for family in _FAMILIES)
