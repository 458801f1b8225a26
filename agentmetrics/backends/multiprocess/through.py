"""Writing through to prometheus-client's files, whoever interrupts whom.

prometheus-client has one lock for all values of a process, the program's own as well. A signal
handler, or the end of a call that the collector has found, may come while this thread is inside of
it; another thread may be, and want the lock of the store for such an end. So it is never waited for
without end: what cannot be written just now is noted, and written by whoever is next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from agentmetrics.recording.fork import take, within

WAIT_SECONDS = 0.1
"""How long prometheus-client's lock is waited for: it is held for microseconds."""


class Behind(Protocol):
    """A series whose value in the file is not that in memory."""

    def write(self) -> None:
        """Write what is in memory; called again, it changes nothing."""


class Through:
    """Brings series up to date in the files, each once it is its turn; for the store's lock.

    ``lock`` is prometheus-client's, made re-entrant, which knows the thread that holds it.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._behind: set[Behind] = set()
        self._in_vain = False
        """Whether the lock was waited for in vain the last time; then it is not waited for."""

    def write(self, series: Behind) -> None:
        """Write it now, if nothing else is written to the files, and else as soon as that is over:
        by the write that this has interrupted, by the next one, or by the next flush."""
        self._behind.add(series)
        self.catch_up()

    def write_all(self, series: Iterable[Behind]) -> None:
        """``write`` for several."""
        self._behind.update(series)
        self.catch_up()

    def catch_up(self) -> None:
        """Write what is behind."""
        lock = self._lock
        while self._behind and not lock._is_owned():  # type: ignore[attr-defined]  # as in a turn
            is_mine = take(self._patience_seconds, lock, self._write_behind)
            self._in_vain = not is_mine
            if not is_mine:
                return

    def _write_behind(self) -> None:
        while self._behind:
            self._behind.pop().write()

    @property
    def _patience_seconds(self) -> float:
        return 0.0 if self._in_vain else WAIT_SECONDS

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether the files are this caller's alone in the block."""
        lock = self._lock
        if lock._is_owned():  # type: ignore[attr-defined]  # by what this has interrupted
            yield False
            return
        with within(self._patience_seconds, lock) as is_held:
            self._in_vain = not is_held
            yield is_held

    def forget(self) -> None:
        """In a child: what was behind is the parent's to write."""
        self._behind.clear()
