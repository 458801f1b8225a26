"""The places of those who look at the page: so many at once, and none is kept for who has gone."""

from __future__ import annotations

import time
from collections.abc import Hashable

from agentmetrics.recording.fork import ForkSafeLock

MAX_CLIENTS = 20
AWAY_SECONDS = 10.0
"""After which a client that has not asked again has gone. It asks every second, or two."""


class Places:
    """Who looks, by what tells them apart: a stream, or the name that a page has given itself."""

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}
        self._lock = ForkSafeLock()

    def take(self, who: Hashable) -> bool:
        """Whether there is a place for this one, or it has one: it is then kept for a while.

        One that was held up for longer than that may have lost its place to another.
        """
        now = time.monotonic()
        with self._lock:
            if who not in self._until and len(self._until) >= MAX_CLIENTS:
                self._until = {each: until for each, until in self._until.items() if until > now}
            if who not in self._until and len(self._until) >= MAX_CLIENTS:
                return False
            self._until[who] = now + AWAY_SECONDS
            return True

    def leave(self, who: Hashable) -> None:
        """Give a place back."""
        with self._lock:
            self._until.pop(who, None)
