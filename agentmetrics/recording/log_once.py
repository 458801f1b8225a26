"""Problems that would be logged at every call, logged once a kind."""

from __future__ import annotations

from collections.abc import Hashable

from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")

MAX_KINDS = 10_000
"""Kinds that are remembered; further ones are not logged, since nobody reads so many."""


class LogOnce:
    """Warns about each kind of problem once, until that kind is reported as over."""

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()

    def warn(self, kind: Hashable, message: str, *args: object) -> None:
        """Log ``message`` (with %-style ``args``) unless this kind has been logged."""
        if kind not in self._seen and len(self._seen) < MAX_KINDS:
            self._seen.add(kind)
            logger.warning(message, *args)

    def over(self, kind: Hashable) -> None:
        """Let the next problem of this kind be logged again."""
        self._seen.discard(kind)
