"""Samples of what agents do, one a second while somebody asks, and the last ten minutes of them."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agentmetrics.exposition.page.state import point_of, state_of
from agentmetrics.live.build import view
from agentmetrics.live.samples import Snapshot
from agentmetrics.live.watch import Watch
from agentmetrics.recording.fork import renewed_lock
from agentmetrics.recording.log_once import LogOnce

EVERY_SECONDS = 1.0
KEPT_SECONDS = 600.0
MOST_OF_A_CORE = 0.02
"""Where a sample takes long, there are fewer."""

Read = Callable[[float], Snapshot]
"""Gives the snapshot of now, whose Unix time it is told."""
InFlight = Callable[[], Mapping[str, float]]
"""Gives the calls in flight by model, where the process itself makes them."""


class Told(NamedTuple):
    """What a client is told: JSON, and the name of the event that it then has."""

    last: str
    body: bytes


class Feed:
    """Takes a sample when asked, if one is due, and keeps what it showed for ten minutes.

    Nothing here runs by itself. Points are kept as the JSON that they are sent as, so that a client
    more costs a copy of bytes.
    """

    def __init__(self, read: Read, in_flight: InFlight | None = None) -> None:
        self._read, self._in_flight = read, in_flight
        self._watch = Watch()
        self._begin()
        self._lock = renewed_lock()
        self._problems = LogOnce()

    def _begin(self) -> None:
        self._boot = uuid.uuid4().hex[:12]
        self._number = 0
        self._points: deque[tuple[int, float, bytes]] = deque()
        self._state = b"null"
        self._due = 0.0

    def due_in(self) -> float:
        """Seconds until the next sample is due; 0 or less when it is."""
        return self._due - time.monotonic()

    def look(self) -> None:
        """Take a sample if one is due. Never raises, and waits for nobody who takes one already."""
        if self.due_in() > 0 or not self._lock.acquire(blocking=False):
            return
        began, used, problem = time.monotonic(), time.thread_time(), ""
        try:
            self._sample()
        except Exception as error:  # a page that shows nothing must not cost the program anything
            problem = type(error).__name__
        finally:
            cost = time.thread_time() - used
            self._due = began + max(EVERY_SECONDS, cost / MOST_OF_A_CORE)
            self._lock.release()
        if problem:
            self._problems.warn(problem, "a sample for the live page failed: %s", problem)

    def _sample(self) -> None:
        now = time.time()
        self._watch.add("", self._read(now))
        seen = view(self._watch)
        in_flight = None if self._in_flight is None else self._in_flight()
        self._state = _json(state_of(seen, in_flight))
        self._number += 1
        self._points.append((self._number, now, _json(point_of(seen))))
        while not now - KEPT_SECONDS <= self._points[0][1] <= now:  # or the clock was set back
            self._points.popleft()

    def since(self, last: str) -> Told:
        """The state, and the points after an event; all there are for who has none of this feed."""
        boot, _, number = last.partition("-")
        is_ours = boot == self._boot and number.isdecimal() and len(number) < 16
        had = int(number) if is_ours else 0
        state, points = self._state, list(self._points)
        new = [(each, point) for each, _, point in points if each > had]
        reached = new[-1][0] if new else had
        body = b'{"last":"%s-%d","state":%s,"points":[%s]}'
        joined = b",".join(point for _, point in new)
        name = f"{self._boot}-{reached}"
        return Told(name, body % (self._boot.encode(), reached, state, joined))


def _json(value: Any) -> bytes:
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False).encode()


def _finite(value: Any) -> Any:
    """Numbers with six digits, since there are many of them, and none that JSON has not."""
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
