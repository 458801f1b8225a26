"""What is done around a fork, by whom and in which order: the one registry.

A child of ``os.fork`` has the memory of its parent and one thread. A lock that another thread
held stays locked for ever there, and what the parent has begun is the parent's to end.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref

THREADS, LEDGERS, STORES = 0, 10, 20
"""Orders: the lower is asked first before a fork and last after it. A store's lock is the
innermost, so it is taken last; threads begin again once all locks are as they should be."""

FORK_WAITS_SECONDS = 1.0
"""How long a fork waits for a thread that holds a lock."""


class ForkAware:
    """An object that has something to do around a fork; subclasses write what they need.

    None of the three may raise or wait for long.
    """

    def before_fork(self) -> None:
        """Take the locks that must not be held by another thread when the process forks."""

    def after_fork_in_parent(self) -> None:
        """Give the locks back."""

    def after_fork_in_child(self) -> None:
        """Give the locks back, or make new ones; let go of what is the parent's."""


_lock = threading.RLock()
_aware: weakref.WeakKeyDictionary[ForkAware, tuple[int, int]] = weakref.WeakKeyDictionary()
_forking: list[ForkAware] = []
_numbers = itertools.count()


def watch_forks(aware: ForkAware, order: int = LEDGERS) -> None:
    """Ask ``aware`` around every fork from now on, for as long as it lives.

    Before a fork those of a low ``order`` come first, and of one order the oldest; after it they
    come in the opposite order. Where the platform cannot fork nobody is ever asked.
    """
    with _lock:
        _aware[aware] = (order, next(_numbers))


def _before() -> None:
    _lock.acquire()
    _forking.extend(sorted(_aware, key=_aware.__getitem__))
    for aware in _forking:
        aware.before_fork()


def _after_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()
    _lock.release()


def _after_in_child() -> None:
    while _forking:
        _forking.pop().after_fork_in_child()
    _lock.release()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )


class ForkSafeLock(ForkAware):
    """A re-entrant lock that no child of a fork finds locked for ever.

    It is held over the fork, so that what it protects is whole in the child; a thread that holds it
    for longer than ``FORK_WAITS_SECONDS`` keeps it, and the child gets a new one.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_held = False
        watch_forks(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        self._is_held = self._lock.acquire(timeout=FORK_WAITS_SECONDS)

    def after_fork_in_parent(self) -> None:
        if self._is_held:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        if self._is_held:
            self._lock.release()
        else:
            self._lock = threading.RLock()
