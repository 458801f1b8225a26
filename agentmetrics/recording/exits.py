"""What is flushed and closed when a process ends, by itself: the one registry.

At the exit of the interpreter everything is closed. Every other end is heard of by a hook of
``recording.ends``, which flushes only: somebody may still make a call before the end comes, or the
process may go on after all.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from agentmetrics.recording.ends import HOOKS, children, sigterm
from agentmetrics.recording.ends.work import run_all
from agentmetrics.recording.fork import THREADS, ForkAware, notice_fork, watch_forks
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")

FLUSH_SECONDS = 10.0
"""How long the end of a process waits for a hook's flush."""
PATIENCE_SECONDS = 0.5
"""How long one flush is waited for before the next begins beside it."""


class Closable(Protocol):
    """Something with a last flush; ``close`` may come twice.

    Where a process ends otherwise than by the exit of its interpreter, ``flush`` is called if there
    is one, and else ``close``; either in any thread.
    """

    def close(self) -> None: ...


class Opens(Protocol):
    """Something in which calls are open."""

    def end_all(self) -> None:
        """End what is open, as cancelled."""


_open: dict[int, Closable] = {}
_opens: weakref.WeakSet[Opens] = weakref.WeakSet()
_is_on = True


def close_at_exit(closable: Closable) -> None:
    """Keep ``closable``; flush or close it when the process ends: the youngest first."""
    _open[id(closable)] = closable


def skip_at_exit(closable: Closable) -> None:
    """Leave it alone at the end: somebody has closed it already."""
    _open.pop(id(closable), None)


def end_at_exit(opens: Opens) -> None:
    """End what is open there before anything is flushed for the last time, while it lives."""
    _opens.add(opens)


def look_for_ends() -> None:
    """Hook into those ways to end that are there by now.

    Cheap, to be asked again now and then; from the first call of a process on, since a process that
    records nothing is left alone, and one that only forks others has no thread then.
    """
    if _is_on:
        for hook in HOOKS:
            hook(flush_all)


def flush_at_exits(wanted: bool) -> None:
    """Flush at the ends of this process, as at first, or do nothing at any, its exit included."""
    global _is_on
    _is_on = wanted
    if not wanted:
        sigterm.unhook()


def flush_all() -> None:
    """End what is open and flush everything, within ``FLUSH_SECONDS``; nothing is closed."""
    if _is_on and not run_all(list(_flushes()), FLUSH_SECONDS, PATIENCE_SECONDS):
        logger.warning("the process ends before everything was flushed")


def _flushes() -> Iterator[Callable[[], None]]:
    yield partial(_attempt, _opens, _end_open)
    for closable in reversed(list(_open.values())):
        flush: Callable[[], None] = getattr(closable, "flush", closable.close)
        yield partial(_attempt, closable, flush)


def close_all() -> None:
    """Close everything that is kept; one that fails is no reason to keep the others open."""
    notice_fork()  # what a child has from its parent is not the child's to flush
    _end_open()
    while _open:
        _, closable = _open.popitem()
        _attempt(closable, closable.close)


def _end_open() -> None:
    for opens in list(_opens):
        _attempt(opens, opens.end_all)


def _attempt(what: object, work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        logger.warning("%s failed at exit: %s", type(what).__name__, type(error).__name__)


@atexit.register
def _close_at_exit() -> None:
    if _is_on:
        with sigterm.postponed():
            close_all()


class _InChildren(ForkAware):
    """Looks anew in every forked child, whose end is its own."""

    def after_fork_in_child(self) -> None:
        sigterm.unhook()
        if _is_on:
            children.hook(flush_all)  # before the child forgets the finalizers of its parent


_in_children = _InChildren()
watch_forks(_in_children, THREADS)
