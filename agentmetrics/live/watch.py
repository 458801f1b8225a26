"""Snapshots of several sources over time: what has grown since when, and what is there now."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from agentmetrics.catalog import BUDGET_SPEND
from agentmetrics.live.samples import Amounts, Labels, Snapshot, summed

WINDOW_SECONDS = 60.0
"""What rates are over unless somebody asks for another window."""
KEPT_SECONDS = 900.0
"""How far back a watch knows what happened: as far as the longest of the marks needs."""

FINE_SECONDS = 60.0
"""For as long each step is kept by itself: for the shorter windows, and the course of a minute."""
COARSE_SECONDS = 10.0
"""So long are steps made of those before, at most. One that is cut by the beginning of a window
counts with its share, which 10 s are exact enough for; each step by itself would be most of what
somebody who looks for long costs."""

_SPEND = BUDGET_SPEND.name


@dataclass(frozen=True, slots=True)
class Growth:
    """By how much counters grew over so many seconds."""

    seconds: float
    amounts: Amounts


@dataclass(slots=True)
class _Step:
    """From one snapshot of a source to the next, or to a later one."""

    source: str
    start: float
    end: float
    grown: dict[str, dict[Labels, float]]

    def take(self, following: _Step) -> None:
        """Be one with the step that follows it."""
        for name, series in following.grown.items():
            sums = self.grown.setdefault(name, {})
            for values, amount in series.items():
                sums[values] = sums.get(values, 0.0) + amount
        self.end = following.end

    def share_since(self, moment: float) -> float:
        """How much of the step lies after this moment, from 0 to 1."""
        return min(1.0, max(0.0, (self.end - moment) / (self.end - self.start)))


class Watch:
    """Takes snapshots of one or several sources, and says what has happened in a window.

    Each source is followed by itself: a counter that is lower than before has begun again at zero,
    as Prometheus has it, and all that it shows has grown since. A series that was not there before
    has grown by its whole value. What a source had when it was first seen is no growth.
    """

    def __init__(self, keep_seconds: float = KEPT_SECONDS) -> None:
        self._keep_seconds = keep_seconds
        self._last: dict[str, Snapshot] = {}
        self._lost: set[str] = set()
        self._totals: dict[str, dict[Labels, float]] = {}
        self._coarse: deque[_Step] = deque()
        self._fine: deque[_Step] = deque()
        self._last_coarse: dict[str, _Step] = {}
        """Of each source."""
        self._spends: deque[tuple[float, Mapping[Labels, float]]] = deque()
        """What was spent of budgets, and when."""
        self.began: float | None = None
        """When the first snapshot was taken, in Unix time."""
        self.now: float = 0.0
        """When the last one was."""

    def add(self, source: str, snapshot: Snapshot) -> None:
        """Take a snapshot of a source, which is not older than the one before it."""
        if self.began is None:
            self.began = snapshot.time
        before = self._last.get(source)
        grown = _grown(before, snapshot)
        for name, series in grown.items():
            total = self._totals.setdefault(name, {})
            for values, amount in series.items():
                total[values] = total.get(values, 0.0) + amount
        if before is not None and snapshot.time < before.time:  # somebody has set the clock back
            for each in (self._coarse, self._fine, self._last_coarse, self._spends):
                each.clear()
            self.began = self.now = snapshot.time
        elif before is not None and snapshot.time > before.time:
            self._fine.append(_Step(source, before.time, snapshot.time, grown))
        self.now = max(self.now, snapshot.time)
        self._last[source] = snapshot
        self._lost.discard(source)
        spends = [{_SPEND: each.series.get(_SPEND, {})} for each in self._there()]
        merged = summed([Snapshot(self.now, series) for series in spends])
        self._spends.append((self.now, merged.series.get(_SPEND, {})))
        self._make_coarse()
        oldest = self.now - self._keep_seconds
        for steps in (self._coarse, self._fine):
            while steps and steps[0].end < oldest:
                steps.popleft()
        while self._spends[0][0] < oldest:
            self._spends.popleft()

    def _make_coarse(self) -> None:
        while self._fine and self._fine[0].end < self.now - FINE_SECONDS:
            step = self._fine.popleft()
            last = self._last_coarse.get(step.source)
            if (
                last is not None
                and last.end == step.start
                and step.end - last.start <= COARSE_SECONDS
            ):
                last.take(step)
            else:
                self._last_coarse[step.source] = step
                self._coarse.append(step)

    @property
    def _steps(self) -> Iterator[_Step]:
        return chain(self._coarse, self._fine)

    def lose(self, source: str) -> None:
        """A source cannot be reached: nobody knows what is in flight there."""
        self._lost.add(source)

    def totals(self) -> Amounts:
        """What counters had when they were first seen, and what they have grown by since."""
        return self._totals

    def gauges(self) -> Amounts:
        """What the sources that can be reached say is there now."""
        return summed([Snapshot(each.time, each.gauges) for each in self._there()]).series

    def spend_rates(self) -> Mapping[Labels, float]:
        """USD a second of each budget, as long as anybody has watched it; one that is lower than
        before has begun a new period. Several sources are no several budgets."""
        grown: dict[Labels, float] = {}
        for (_, before), (_, after) in pairwise(self._spends):
            for values, spent in after.items():
                last = before.get(values, spent)
                amount = spent - last if spent >= last else spent
                grown[values] = grown.get(values, 0.0) + amount
        seconds = self.now - self._spends[0][0] if self._spends else 0.0
        return {values: amount / seconds for values, amount in grown.items()} if seconds else {}

    def _there(self) -> list[Snapshot]:
        return [each for source, each in self._last.items() if source not in self._lost]

    def has_watched(self, seconds: float) -> bool:
        """Whether that much can be said about what did not happen."""
        return self.now - self._began_or_now() >= seconds > 0

    def bounds(self, name: str) -> Collection[float]:
        """The upper bounds of a histogram's buckets, at any of the sources."""
        return set().union(*(each.bounds.get(name, ()) for each in self._last.values()))

    def growth(
        self, window: float = WINDOW_SECONDS, names: Collection[str] | None = None
    ) -> Growth:
        """What has happened in the last ``window`` seconds, to all metrics or those named.

        A step that began before the window counts with its share of it. ``seconds`` is less than
        ``window`` where nobody watched for that long, and 0 before the second snapshot.
        """
        start = self.now - window
        amounts: dict[str, dict[Labels, float]] = {}
        for step in self._steps:
            share = step.share_since(start)
            if share <= 0:
                continue
            for name, series in step.grown.items():
                if names is not None and name not in names:
                    continue
                sums = amounts.setdefault(name, {})
                for values, amount in series.items():
                    sums[values] = sums.get(values, 0.0) + share * amount
        return Growth(self.now - max(start, self._began_or_now()), amounts)

    def course(self, name: str, window: float, parts: int) -> Mapping[Labels, Sequence[float]]:
        """The growth of one counter in each of so many equal parts of a window, the latest last."""
        length = window / parts
        starts = [self.now - window + length * part for part in range(parts)]
        found: dict[Labels, list[float]] = {}
        for step in self._steps:
            series = step.grown.get(name)
            if not series or step.share_since(starts[0]) <= 0:
                continue
            since = [*(step.share_since(start) for start in starts), 0.0]
            for values, amount in series.items():
                line = found.setdefault(values, [0.0] * parts)
                for part, (share, later) in enumerate(pairwise(since)):
                    line[part] += amount * (share - later)
        return found

    def _began_or_now(self) -> float:
        return self.now if self.began is None else self.began


def _grown(before: Snapshot | None, snapshot: Snapshot) -> dict[str, dict[Labels, float]]:
    """What counters have grown by; for a source that is new, what they have."""
    grown: dict[str, dict[Labels, float]] = {}
    known = before.series if before is not None else {}
    for name, values, value in snapshot.counted:
        last = known.get(name, {}).get(values, 0.0)
        amount = value - last if value >= last else value
        if amount > 0:
            grown.setdefault(name, {})[values] = amount
    return grown
