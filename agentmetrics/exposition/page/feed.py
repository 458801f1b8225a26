"""Samples of what agents do, one a second while somebody asks, and the last ten minutes of them."""

from __future__ import annotations

import json
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from agentmetrics.exposition.page.runs import RunsTold, ShownRuns
from agentmetrics.exposition.page.state import point_of, state_of
from agentmetrics.live.build import view
from agentmetrics.live.samples import Snapshot
from agentmetrics.live.watch import Watch
from agentmetrics.recording.fork import renewed_lock, within
from agentmetrics.recording.log_once import LogOnce

EVERY_SECONDS = 1.0
KEPT_SECONDS = 600.0
MOST_OF_A_CORE = 0.02
"""Where a sample takes long, there are fewer."""

MOST_FEEDS = 20
"""Whose last events a client may tell: those of the processes that answer it in turn."""

Read = Callable[[float], Snapshot]
"""Gives the snapshot of now, whose Unix time it is told."""
InFlight = Callable[[], Mapping[str, float]]
"""Gives the calls in flight by model, where the process itself makes them."""


class Told(NamedTuple):
    """What a client is told: JSON, and the name of the event that it then has."""

    last: str
    body: bytes


class _Point(NamedTuple):
    number: int
    time: float
    told: bytes


class _Shown(NamedTuple):
    """What there is to tell, replaced as a whole: it is read without a lock."""

    number: int
    """Of the latest sample."""
    state: bytes
    points: tuple[_Point, ...]
    runs: ShownRuns


class Feed:
    """Takes a sample when asked, if one is due, and keeps what it showed for ten minutes.

    Nothing here runs by itself. Points are kept as the JSON that they are sent as, so that a client
    more costs a copy of bytes.
    """

    def __init__(
        self, read: Read, in_flight: InFlight | None = None, runs: RunsTold | None = None
    ) -> None:
        self._read, self._in_flight, self._runs = read, in_flight, runs
        self._watch = Watch()
        self._shown = _Shown(0, b"null", (), ShownRuns())
        self._made = uuid.uuid4().hex[:12]  # tells this feed from one that there was before
        self._due, self._every, self._cost = 0.0, EVERY_SECONDS, 0.0
        self._lock = renewed_lock()
        self._problems = LogOnce()

    def due_in(self) -> float:
        """Seconds until the next sample is due; 0 or less when it is."""
        return self._due - time.monotonic()

    def look(self) -> None:
        """Take a sample if one is due. Never raises, and waits for nobody who takes one already."""
        if self.due_in() <= 0:
            with within(0.0, self._lock) as is_held:
                problem = self._sampled() if is_held else ""
            if problem:
                self._problems.warn(problem, "a sample for the live page failed: %s", problem)

    def _sampled(self) -> str:
        """Take one; what it failed of, or nothing."""
        began, used = time.monotonic(), time.thread_time()
        try:
            self._sample()
        except Exception as error:  # a page that shows nothing must not cost the program anything
            return type(error).__name__
        else:
            return ""
        finally:
            cost = time.thread_time() - used
            # The first one imports what it needs, and any may have to collect garbage.
            usual, self._cost = min(cost, self._cost), cost
            self._every = max(EVERY_SECONDS, usual / MOST_OF_A_CORE)
            self._due = began + self._every

    def _sample(self) -> None:
        now = time.time()
        in_flight = None if self._in_flight is None else self._in_flight()
        self._watch.add("", self._read(now))
        seen = view(self._watch)
        number, points = self._shown.number + 1, self._shown.points
        point = point_of(seen)
        if point is not None:
            points = (*points, _Point(number, now, _json(point)))
        # Those of the future are from before the clock was set back.
        kept = tuple(each for each in points if now - KEPT_SECONDS <= each.time <= now)
        self._shown = _Shown(number, _json(state_of(seen, in_flight)), kept, self._taken())

    def _taken(self) -> ShownRuns:
        return ShownRuns() if self._runs is None else self._runs.take()

    def runs(self, last: str) -> Told:
        """The last runs after an event of this kind alone, as of now."""
        taken = self._taken()
        (had,) = self._numbers(last, 1)
        name = f"{self._boot()}-{taken.number}"
        body = b'{"last":"%s","runs":%s}' % (name.encode(), taken.since(had))
        return Told(name, body)

    def _boot(self) -> str:
        """Whose events these are: forked workers have feeds of their own, made by their parent."""
        return f"{self._made}.{os.getpid()}"

    def since(self, last: str) -> Told:
        """The state, and the points after an event; all there are for who has none of this feed."""
        if self._runs is not None:
            self._runs.look()  # samples may be rare
        had, run = self._numbers(last, 2)
        shown = self._shown
        name = f"{self._boot()}-{shown.number}-{shown.runs.number}"
        new = b",".join(each.told for each in shown.points if each.number > had)
        body = b'{"last":"%s","every":%.2f,"state":%s,"points":[%s],"runs":%s}'
        runs = shown.runs.since(run)
        return Told(name, body % (name.encode(), self._every, shown.state, new, runs))

    def _numbers(self, last: str, count: int) -> Sequence[int]:
        """The numbers in the name of an event of this feed; zeros where there is none.

        Who is answered by several processes in turn tells the last event of each of them.
        """
        for name in last.split(",", MOST_FEEDS):
            boot, *numbers = name.split("-", count + 1)
            are_ours = boot == self._boot() and len(numbers) == count
            if are_ours and all(each.isdecimal() and len(each) < 16 for each in numbers):
                return [*map(int, numbers)]
        return [0] * count


def _json(value: Any) -> bytes:
    return json.dumps(_finite(value), separators=(",", ":"), allow_nan=False).encode()


def _finite(value: Any) -> Any:
    """Numbers without the digits that only arithmetic made, and none that JSON has not."""
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
