"""Where the ledger hears of ended calls: all that it does while the agent waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from agentmetrics.calls.facts import LLMCall


class Intake:
    """The calls that have ended at one recorder and are not added up yet.

    ``begin`` is called when it is time to add up, and says after how many more to call it again.
    """

    __slots__ = ("_begin", "_ended", "_fold_at", "names")

    def __init__(self, begin: Callable[[], int], names: tuple[str, ...]) -> None:
        self.names = names
        self._begin = begin
        self._ended: deque[LLMCall] = deque()
        self._fold_at = 1  # the first call starts the thread

    def hear(self, call: LLMCall) -> None:
        """Take an ended call: this is all that the ledger does on the hot path."""
        self._ended.append(call)
        if len(self._ended) >= self._fold_at:
            self._fold_at = self._begin()

    def drain(self) -> Iterator[LLMCall]:
        while self._ended:
            yield self._ended.popleft()

    def forget(self) -> None:
        self._ended.clear()
