"""SIGTERM where the program has nothing to say about it: a flush, and then the same death.

A handler of the program's is never replaced, nor is a signal that it ignores. Python runs handlers
in the main thread, between two steps of the interpreter: so does this one.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from agentmetrics.recording.ends.kicks import Kicks
from agentmetrics.recording.ends.work import start
from agentmetrics.recording.fork import holds_lock

ROOM_FRAMES = 1_000
"""How much deeper than the program may go the end of it goes, which may come at its deepest."""
POSTPONEMENTS = 20
"""How often a handler that has interrupted us waits for the next kick, some 2 ms each."""


class _Handler:
    """What SIGTERM does: flush, and die of it.

    It flushes where it has interrupted the program: nothing that the program does comes after that.
    """

    def __init__(self) -> None:
        self.flush: Callable[[], None] = _nothing
        self.kicks: Kicks | None = None
        self.postponements = POSTPONEMENTS
        self.is_postponed = False
        self.due: int | None = None
        self.owed_by: int | None = None
        """The process to which one came that waits for a kick."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + ROOM_FRAMES)
        try:
            self._come(number, frame)
        finally:
            sys.setrecursionlimit(limit)

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self.kicks is not None and self.kicks.is_of_parent:
            # A child that has not begun anew has nothing to flush.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        is_safe = not _is_ours(frame) and not holds_lock()
        if not is_safe and not self.is_postponed and self.postponements:
            self.postponements -= 1  # what was interrupted goes on until the next kick
            self.owed_by = os.getpid()
            return
        if self.kicks is not None and not self.kicks.stop():
            return  # a kick that comes when the handler has begun
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        if self.is_postponed:
            self.due = number
        elif is_safe:
            self._end(number)
        # Else it is somewhere in us for long. It may hold what a flush needs, and so goes on.
        elif not start(lambda: self._end(number)):
            os.kill(os.getpid(), number)

    def _end(self, number: int) -> None:
        try:
            self.flush()
        finally:
            os.kill(os.getpid(), number)


def _nothing() -> None:
    """What is flushed before there is anything."""


_handler = _Handler()


def hook(flush: Callable[[], None]) -> None:
    """Have SIGTERM flush, where its disposition is the default.

    Only the main thread can do that; asked in another one, it is left to the next time. It is done
    on Linux alone, and where there are threads: what flushes has one, and a program without any can
    go on to fork as such.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return
    if threading.active_count() == 1:
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    with suppress(ValueError, OSError):  # another interpreter than the main one; no more files
        if not _is_caught_in_c():
            kicks = Kicks(signal.SIGTERM)
            if not kicks.begin():
                return
            _handler.flush, _handler.kicks = flush, kicks
            _handler.postponements = POSTPONEMENTS
            signal.signal(signal.SIGTERM, _handler)
            faulthandler.register(signal.SIGTERM, kicks.told, all_threads=False, chain=True)


def unhook() -> None:
    """Give SIGTERM its default disposition again, if it is still ours; for the main thread.

    A forked child does so until its first call: the thread that kicks is not there.
    """
    if _handler.kicks is None or threading.current_thread() is not threading.main_thread():
        return
    current: object = signal.getsignal(signal.SIGTERM)
    if current is _handler:
        faulthandler.unregister(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _handler.kicks.end()
        _handler.kicks = None
        if _handler.owed_by == os.getpid():  # nobody kicks any more
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def postponed() -> Iterator[None]:
    """Let a SIGTERM that comes now wait until the end of the block, in which all is flushed."""
    _handler.is_postponed = True
    try:
        yield
    finally:
        _handler.is_postponed = False
        if _handler.due is not None:
            os.kill(os.getpid(), _handler.due)


def _is_caught_in_c() -> bool:
    """Whether Python knows nothing of a handler that is there: uWSGI's, or faulthandler's."""
    with Path("/proc/self/status").open("rb") as status:
        for line in status:
            if line.startswith(b"SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def _is_ours(frame: FrameType | None) -> bool:
    """Whether the interrupted code is of this package or a plugin of it."""
    return frame is not None and str(frame.f_globals.get("__name__")).startswith("agentmetrics")
