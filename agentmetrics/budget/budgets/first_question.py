"""What a process asks its ledger before its first call: what is spent by now."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from agentmetrics.errors import LedgerUnavailable
from agentmetrics.recording.deadline import InTime
from agentmetrics.recording.fork import ForkAware, ForkSafeLock, watch_forks

FIRST_CALL_SECONDS = 1.0
"""How long a process's first call waits for the answer: it may be on an event loop."""
START_SECONDS = 10.0
"""How long the start of a program waits for it."""


class FirstQuestion(ForkAware):
    """Asks once in every process, a forked one too: a child that ends before its first flush would
    else only know what its parent had known.

    ``ask_ledger`` asks, and raises ``LedgerUnavailable`` when there is no answer.
    """

    def __init__(self, ask_ledger: Callable[[], None]) -> None:
        self._ask_ledger = ask_ledger
        self._asking = ForkSafeLock()
        self.is_open = True
        """Whether nobody has asked in this process yet."""
        self.is_answered = False
        watch_forks(self)

    def ask(self, seconds: float) -> bool:
        """Ask, unless somebody has; whether this was answered within ``seconds``.

        One who comes meanwhile waits for the same answer. A later one still counts.
        """
        with self._asking:
            if self.is_open:
                question = InTime(self._ask)
                with suppress(LedgerUnavailable):
                    question.run(seconds)
                self.is_open = False
        return self.is_answered

    def _ask(self) -> None:
        self._ask_ledger()
        self.answered()

    def answered(self) -> None:
        """Take note that the ledger has said what is spent, whoever asked."""
        self.is_open, self.is_answered = False, True

    def after_fork_in_child(self) -> None:
        self.is_open, self.is_answered = True, False
