"""A turn at something: one thread's at a time, and never one inside of another."""

from __future__ import annotations

from collections.abc import Callable

from agentmetrics.recording.fork import held_lock


class Turn:
    """A lock for which nobody waits without an end, and which lets nobody in twice.

    A signal handler and the collector run in the middle of what their own thread does, a re-entrant
    lock lets them in, and they find things half done. And whoever waits for a thread that a handler
    has interrupted may hold what the handler wants. So every wait is for some seconds, and who
    cannot have a turn leaves a note to the next who can.

    A child of a fork is to make its own: it does not know how far a turn of its parent's had come.
    """

    __slots__ = ("_is_taken", "_lock")

    def __init__(self) -> None:
        self._lock = held_lock()
        self._is_taken = False

    def take(self, seconds: float, work: Callable[[], object]) -> bool:
        """Do ``work`` if it is this one's turn; whether it was.

        It is not when another thread's takes longer than ``seconds``, nor in what has interrupted
        one of this thread.
        """
        had: list[bool] = []
        is_mine = False
        try:  # as ``within`` does, which takes longer: this is done several times a call
            had.extend(map(self._lock.acquire, (True,), (seconds,)))
            if True in had and not self._is_taken:
                is_mine = self._is_taken = True
                work()
            return is_mine
        finally:
            if is_mine:
                self._is_taken = False
            if True in had:
                self._lock.release()

    @property
    def is_own(self) -> bool:
        """Whether this thread has it: what asks has interrupted it, and should wait for nobody."""
        return self._is_taken and self._lock._is_owned()  # type: ignore[attr-defined]
