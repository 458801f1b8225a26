"""What is done around a fork, by whom and in which order: the one registry.

A child of a fork has the memory of its parent and one thread. A lock that another thread held
stays locked for ever there, and what the parent has begun is the parent's to end.

``os.fork`` runs hooks. A fork that is made in C runs none: uWSGI's own, ``libc.fork`` by ctypes. So
a child is also noticed by the first thing that it does here, which then does all that the hook
would have done; see ``NOTICED``.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from agentmetrics.recording import said

logger = said.QuietLogger("agentmetrics")

THREADS, LEDGERS, STORES = 0, 10, 20
"""Orders: the lower is asked first before a fork and last after it. A store's lock is the
innermost, so it is taken last; threads begin again once all locks are as they should be."""

FORK_WAITS_SECONDS = 1.0
"""How long a fork waits for threads that hold locks, in all."""

_WIPE_ON_FORK = 18  # MADV_WIPEONFORK, which mmap does not name; Linux since 4.14


class _ByNumber:
    """Where the kernel wipes no page in a child: asks for the number of the process, a system
    call."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, place: int) -> int:
        return self._pid == os.getpid()

    def __setitem__(self, place: int, value: int) -> None:
        self._pid = os.getpid()


def _mark() -> bytearray | mmap.mmap | _ByNumber:
    if not hasattr(os, "fork"):  # Windows
        return bytearray(b"\1")
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except (OSError, ValueError, AttributeError):
        return _ByNumber()
    page[0] = 1
    return page


NOTICED = _mark()
"""``NOTICED[0]`` is 0 in a child that was not noticed yet, and 1 otherwise.

Whatever may be the first thing that a child does here begins with this, which costs some 20 ns::

    if not NOTICED[0]:
        notice_fork()
"""


class ForkAware:
    """An object that has something to do around a fork; subclasses write what they need.

    None of the three may wait for long. The first two are asked around ``os.fork`` alone, the third
    in every child, when all locks of ``held_lock`` and ``renewed_lock`` are free.
    """

    def before_fork(self) -> None:
        """Bring to an end what must not be cut in two."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Let go of what is the parent's."""


_Place = tuple[int, int]
_numbers = itertools.count()
_aware: weakref.WeakKeyDictionary[ForkAware, _Place] = weakref.WeakKeyDictionary()
_held: weakref.WeakKeyDictionary[threading.RLock, _Place] = weakref.WeakKeyDictionary()
_renewed: weakref.WeakKeyDictionary[Any, _Place] = weakref.WeakKeyDictionary()


def watch_forks(aware: ForkAware, order: int = LEDGERS) -> None:
    """Ask ``aware`` around every fork from now on, for as long as it lives.

    Before a fork those of a low ``order`` come first, and of one order the oldest; after it they
    come in the opposite order. Where the platform cannot fork nobody is ever asked.
    """
    _aware[aware] = (order, next(_numbers))


def held_lock(order: int = LEDGERS) -> threading.RLock:
    """A re-entrant lock that ``os.fork`` waits for, so that what it protects is whole in the child.

    No child finds it locked for ever: where a thread held it for longer than a fork waits, or the
    fork was made in C, it is renewed there.
    """
    lock = threading.RLock()
    _held[lock] = (order, next(_numbers))
    return lock


def renewed_lock() -> threading.RLock:
    """A re-entrant lock that no fork waits for: what it protects begins anew in the child."""
    lock = threading.RLock()
    renew_in_children(lock)
    return lock


def renew_in_children(lock: Any) -> None:
    """Renew a lock that somebody else made, in every child that finds it locked."""
    _renewed[lock] = (LEDGERS, next(_numbers))


def holds_lock() -> bool:
    """Whether this thread holds a lock that is registered here."""
    for lock, _ in (*_items(_held), *_items(_renewed)):
        is_owned: Callable[[], bool] | None = getattr(lock, "_is_owned", None)  # locks of others
        if is_owned is not None and is_owned():
            return True
    return False


said.while_unlocked(holds_lock)


class ForkSafeLock:
    """A ``held_lock`` to be entered, which notices a child as well.

    Taking it and giving it back are steps of C, as ``with`` looks for both before it does either:
    a signal handler that raises, as Ctrl-C does, comes in between no instructions of ours there.
    """

    def __init__(self) -> None:
        self._lock = held_lock()

    @property
    def __enter__(self) -> Callable[[], bool]:
        if not NOTICED[0]:
            notice_fork()
        return self._lock.__enter__

    @property
    def __exit__(self) -> Callable[..., None]:
        return self._lock.__exit__


@contextmanager
def within(seconds: float, lock: Any) -> Iterator[bool]:
    """Hold a lock in the block if it is to be had in so many seconds; gives whether it is held.

    It is given back however the block ends: by a signal handler, too, that raises while it is taken
    or given back, at the latest when that exception is let go of.
    """
    had: list[bool] = []
    try:
        had.extend(map(lock.acquire, (True,), (seconds,)))  # taken and known to be in one step
        yield had[0]
    finally:
        if True in had:
            lock.release()


def take(seconds: float, lock: Any, work: Callable[[], object]) -> bool:
    """Do ``work`` with a lock if it is to be had in so many seconds; whether it was.

    As safe as ``within``, and a microsecond or two faster, which counts where it is done several
    times a call.
    """
    had: list[bool] = []
    try:
        had.extend(map(lock.acquire, (True,), (seconds,)))
        if True in had:
            work()
        return had[0]
    finally:
        if True in had:
            lock.release()


def _in_order(*watched: weakref.WeakKeyDictionary[Any, _Place]) -> list[Any]:
    """All that are alive, the outermost first."""
    # keyrefs() is one step: other threads may add to what is watched meanwhile.
    alive = [(each, place) for of in watched for each, place in _items(of)]
    return [each for each, _ in sorted(alive, key=lambda item: item[1])]


def _items(watched: weakref.WeakKeyDictionary[Any, _Place]) -> list[tuple[Any, _Place]]:
    alive = [each for ref in watched.keyrefs() if (each := ref()) is not None]
    return [(each, watched[each]) for each in alive]


_begun: dict[int, list[Any]] = {}
"""What was asked before a fork, by the thread that forks."""


_in_vain: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
"""Locks that an earlier fork has waited for in vain: their threads wait for somebody themselves."""


def _before() -> None:
    begun = _begun[threading.get_ident()] = []
    deadline = time.monotonic() + FORK_WAITS_SECONDS
    for each in _in_order(_aware, _held):
        if isinstance(each, ForkAware):
            _attempt(each.before_fork)
            begun.append(each)
        elif each.acquire(timeout=_patience(each, deadline)):
            begun.append(each)
            _in_vain.discard(each)
        else:
            _in_vain.add(each)


def _patience(lock: threading.RLock, deadline: float) -> float:
    return 0.0 if lock in _in_vain else max(0.0, deadline - time.monotonic())


def _after_in_parent() -> None:
    for each in reversed(_begun.pop(threading.get_ident(), [])):
        _attempt(each.after_fork_in_parent if isinstance(each, ForkAware) else each.release)


_telling: dict[int, threading.Lock] = {}
_teller = (0, 0)


def notice_fork() -> None:
    """In a child that was not noticed yet, do what is to be done there; elsewhere nothing.

    Never raises. Returns when it is done, whichever thread does it.
    """
    if not NOTICED[0]:
        # The thread that forked is the main one of the child, to which Linux gives its number.
        _notice(has_forked=threading.get_native_id() == os.getpid())


def _after_in_child() -> None:
    if not NOTICED[0]:
        _notice(has_forked=True)


def _notice(*, has_forked: bool) -> None:
    """Do it; ``has_forked`` is whether this is the thread that forked.

    A new one may have the ident of one that is gone, and then seems to hold the locks of that one.
    """
    global _teller
    me = pid, _ = os.getpid(), threading.get_ident()
    if me == _teller:  # somebody who is told comes here again
        return
    # A thread of the parent may hold what the parent had for this.
    with _telling.setdefault(pid, threading.Lock()):
        if NOTICED[0]:
            return
        _teller = me
        _tell_child(has_forked)
        for before in _telling.keys() - {pid}:
            del _telling[before]
        NOTICED[0] = 1


def _tell_child(has_forked: bool) -> None:
    begun = _begun.pop(threading.get_ident(), ())
    for each in begun if has_forked else ():
        if not isinstance(each, ForkAware):
            _attempt(each.release)
    _begun.clear()
    for lock in _in_order(_held, _renewed):
        # One that this very thread was inside of when it forked is still its own.
        if has_forked and lock.acquire(blocking=False):
            lock.release()
        else:
            _attempt(lock._at_fork_reinit)  # in place, as the standard library does with its own
    for aware in reversed(_in_order(_aware)):
        _attempt(aware.after_fork_in_child)


def _attempt(what: Callable[[], object]) -> None:
    try:
        what()
    except Exception as error:
        logger.warning("%s failed at a fork: %s", what.__qualname__, type(error).__name__)


class _Unsaid(ForkAware):
    """What was logged and waits is the parent's to say."""

    def after_fork_in_child(self) -> None:
        said.begin_anew()


_unsaid = _Unsaid()
watch_forks(_unsaid)

if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
