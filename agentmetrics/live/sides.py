"""The sides of a watch: what was counted ever, what of it in a window, and what is there now."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from agentmetrics.live.samples import Labels
from agentmetrics.live.watch import Watch
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.values import HistogramValue

_Held = TypeVar("_Held", float, Sequence[float])
Sums = Mapping[Labels, float]
"""By the values of the labels that were asked for."""


class Sides:
    """Sums over the series of a watch, of all agents or of one."""

    def __init__(self, watch: Watch, window: float, agent: str | None = None) -> None:
        growth = watch.growth(window)
        self.seconds = growth.seconds
        self.has_watched = watch.has_watched(window)
        self._watch, self._agent = watch, agent
        self._totals, self._grown, self._gauges = watch.totals(), growth.amounts, watch.gauges()

    def ever(self, metric: Metric, by: Labels, **only: Collection[str]) -> Sums:
        """What a counter has, where its labels have one of the values in ``only``."""
        return _added(self._keyed(self._totals, metric.name, metric.labels, by, only))

    def recent(self, metric: Metric, by: Labels, **only: Collection[str]) -> Sums:
        """What it has grown by in the window."""
        return _added(self._keyed(self._grown, metric.name, metric.labels, by, only))

    def since(self, seconds: float, by: Labels, *metrics: Metric) -> Sums:
        """What counters have grown by together in another window."""
        grown = self._watch.growth(seconds, [metric.name for metric in metrics]).amounts
        pairs = (self._keyed(grown, each.name, each.labels, by) for each in metrics)
        return _added(pair for each in pairs for pair in each)

    def ever_sum(self, metric: Metric, by: Labels) -> Sums:
        """The sum of all observations of a histogram that is averaged."""
        return _added(self._keyed(self._totals, f"{metric.name}_sum", metric.labels, by))

    def ever_count(self, metric: Metric, by: Labels) -> Sums:
        """Their number."""
        return _added(self._keyed(self._totals, f"{metric.name}_count", metric.labels, by))

    def durations(self, metric: Metric, by: Labels) -> Mapping[Labels, HistogramValue]:
        """The observations of a histogram in the window."""
        labels = (*metric.labels, "le")
        counts = _added(self._keyed(self._grown, metric.name, labels, (*by, "le")))
        inside: dict[Labels, dict[float, float]] = {}
        for (*key, le), count in counts.items():
            inside.setdefault(tuple(key), {})[float(le)] = count
        bounds = sorted(self._watch.bounds(metric.name))
        return {key: _histogram(bounds, found) for key, found in inside.items()}

    def now(self, metric: Metric, by: Labels) -> Sums:
        """A gauge: of what is in flight the sum, of ages and limits the highest."""
        pairs = self._keyed(self._gauges, metric.name, metric.labels, by)
        return _added(pairs) if metric.merge == "sum" else _highest(pairs)

    def course(
        self, metric: Metric, by: Labels, window: float, parts: int
    ) -> Mapping[Labels, tuple[float, ...]]:
        """How much a counter has grown by in each part of a window."""
        lines: dict[Labels, tuple[float, ...]] = {}
        found = {metric.name: self._watch.course(metric.name, window, parts)}
        for key, line in self._keyed(found, metric.name, metric.labels, by):
            known = lines.get(key)
            lines[key] = tuple(line if known is None else map(float.__add__, known, line))
        return lines

    def rate(self, amounts: Sums, key: Labels, seconds: float = 1.0) -> float | None:
        """What an amount of the window is in so many seconds; unknown before there is a window."""
        return amounts.get(key, 0.0) * seconds / self.seconds if self.seconds else None

    def _keyed(
        self,
        amounts: Mapping[str, Mapping[Labels, _Held]],
        name: str,
        labels: Labels,
        by: Labels,
        only: Mapping[str, Collection[str]] = {},
    ) -> Iterator[tuple[Labels, _Held]]:
        """Series by their values of the labels ``by``: those of the agent, and that are wanted."""
        places = [labels.index(label) for label in by]
        wanted = [(labels.index(label), values) for label, values in only.items()]
        if self._agent is not None and "agent_name" in labels:
            wanted.append((labels.index("agent_name"), (self._agent,)))
        for values, value in amounts.get(name, {}).items():
            if all(values[place] in among for place, among in wanted):
                yield tuple(values[place] for place in places), value


def _added(pairs: Iterable[tuple[Labels, float]]) -> Sums:
    found: dict[Labels, float] = {}
    for key, value in pairs:
        found[key] = found.get(key, 0.0) + value
    return found


def _highest(pairs: Iterable[tuple[Labels, float]]) -> Sums:
    found: dict[Labels, float] = {}
    for key, value in pairs:
        found[key] = max(found.get(key, value), value)
    return found


def _histogram(bounds: list[float], inside: Mapping[float, float]) -> HistogramValue:
    """Counted in thousandths: of a step that began before the window, its share counts."""
    counts = tuple(round(1000 * inside.get(bound, 0.0)) for bound in bounds)
    above = () if bounds and math.isinf(bounds[-1]) else (0,)
    finite = tuple(bound for bound in bounds if math.isfinite(bound))
    return HistogramValue(finite, (*counts, *above), 0.0)
