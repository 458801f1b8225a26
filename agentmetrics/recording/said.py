"""What we log: the one way to the program's logging, whose filters and handlers are its own code.

They may raise, which reaches nobody here; call us again, of which nothing more is logged; and wait
for another thread that does, so that none runs while this thread holds a lock of ours. What is
logged meanwhile is said when the lock is free: at the end of a block of ``later``, else by a thread
of its own, as is what is logged while the garbage collector is at work.

What is no ``Exception`` passes, here as everywhere in agentmetrics: ``KeyboardInterrupt``,
``SystemExit``, ``CancelledError``, the timeouts of gevent are orders to stop, and not ours to hold
up.
"""

from __future__ import annotations

import _thread
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

from agentmetrics.recording.collector import is_collecting

MAX_WAITING = 1_000
"""Messages that wait for a lock to be free; past it the oldest are dropped."""

_Message = Callable[[], None]
_is_saying: ContextVar[bool] = ContextVar("agentmetrics_is_saying", default=False)
_kept: ContextVar[list[_Message] | None] = ContextVar("agentmetrics_kept", default=None)


class QuietLogger:
    """A logger of this name that raises nothing into us, whatever the program does with it."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    @property
    def wants_debug(self) -> bool:
        """Whether anybody reads what is logged at DEBUG."""
        try:
            return self._logger.isEnabledFor(logging.DEBUG)
        except Exception:  # somebody's own class of loggers
            return False

    def debug(self, message: str, *args: object) -> None:
        """Log with %-style ``args``; so do ``warning`` and ``error``."""
        _say(partial(self._emit, logging.DEBUG, message, *args))

    def warning(self, message: str, *args: object) -> None:
        _say(partial(self._emit, logging.WARNING, message, *args))

    def error(self, message: str, *args: object) -> None:
        _say(partial(self._emit, logging.ERROR, message, *args))

    def _emit(self, level: int, message: str, *args: object) -> None:
        token = _is_saying.set(True)
        try:
            self._logger.log(level, message, *args)
        except Exception:  # nobody is left whom it could be told
            pass
        finally:
            _is_saying.reset(token)


def _say(message: _Message) -> None:
    if _is_saying.get():  # by what a handler does with what we say
        return
    if is_collecting() or ((kept := _kept.get()) is None and _holds_lock()):
        _waiting.append(message)
        _begin_thread()
    elif kept is not None:
        kept.append(message)
    else:
        message()


@contextmanager
def later() -> Iterator[None]:
    """What is logged in the block is said when it has been left: put it around a lock.

    Where the caller holds another one that has such a block around it, when that is left.
    """
    if is_collecting() or _kept.get() is not None:
        yield
        return
    kept: list[_Message] = []
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        for message in kept:
            _say(message)


# What nobody says who could

_waiting: deque[_Message] = deque(maxlen=MAX_WAITING)
_turns: list[None] = [None]
"""Whoever takes it out may say what waits: one thread, however long a handler holds it up. No lock,
which a signal handler might find taken."""


def _holds_no_lock() -> bool:
    return False


_holds_lock: Callable[[], bool] = _holds_no_lock


def while_unlocked(holds_lock: Callable[[], bool]) -> None:
    """Ask this whether the thread that logs something holds a lock of ours."""
    global _holds_lock
    _holds_lock = holds_lock


def _begin_thread() -> None:
    # Not threading.Thread, whose start takes a lock that a signal handler may find taken.
    try:
        turn = _turns.pop()
    except IndexError:  # another thread says it
        return
    try:
        _thread.start_new_thread(_say_waiting, ())
    except RuntimeError:  # no more threads, as at the exit of a program
        _turns.append(turn)


def _say_waiting() -> None:
    while _waiting:
        _waiting.popleft()()
    _turns.append(None)
    if _waiting:  # since it was looked at
        _begin_thread()


def begin_anew() -> None:
    """As in a process that has said nothing: in a forked child, whose parent says what waits."""
    _waiting.clear()
    _turns[:] = [None]
