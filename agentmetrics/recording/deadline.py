"""Work that is waited for only so long, in a daemon thread that is there beforehand."""

from __future__ import annotations

import threading
from collections.abc import Callable


class InTime:
    """Runs a function once, when ``run`` is called.

    Its thread starts with the object: none can start while the program ends (from Python 3.12 on).
    Made that late, the function runs in the thread that waits, as long as it takes.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._begun, self._ended = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        thread = threading.Thread(target=self._wait, name="agentmetrics-in-time", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._has_thread = False
        else:
            self._has_thread = True

    def _wait(self) -> None:
        self._begun.wait()
        self._work()

    def _work(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self._error = error
        self._ended.set()

    def cancel(self) -> None:
        """Let the thread end without running the function, which is not to be run afterwards."""
        self._function = _nothing
        self._begun.set()

    def run(self, seconds: float) -> bool:
        """Let the function run, and raise what it raises.

        ``False`` when it takes longer than ``seconds``: it goes on, and nobody waits for it.
        """
        if self._has_thread:
            self._begun.set()
        else:
            self._work()
        is_over = self._ended.wait(seconds)
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # which holds this frame, and whatever it went through stays as long
        return is_over


def _nothing() -> None:
    """What is left to do of something cancelled."""
