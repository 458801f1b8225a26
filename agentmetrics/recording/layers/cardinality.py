"""A limit on the number of series of a metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from agentmetrics.recording.health import SERIES_DROPPED
from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder, Wanted

OpenValues = tuple[str, ...] | str
"""The values of the labels that count; of a single one among others its value."""

OTHER = "other"
"""The value that labels get past the cardinality limit."""
MAX_SERIES = 2000
"""The default limit of label sets per metric."""


class CardinalityLimit(Layer):
    """At most ``max_series`` label sets per metric; beyond it, label values become ``other``.

    Labels with a fixed set of values (``metric.closed_labels``) are not counted and keep theirs, so
    sums by ``status`` stay correct, and the metrics of a call are limited at the same point.
    ``agentmetrics_series_dropped_total{metric}`` counts the label sets that were rejected; one that
    comes back after ``max_series`` others have been counts again.
    """

    def __init__(self, recorder: Recorder, max_series: int = MAX_SERIES) -> None:
        super().__init__(recorder)
        self.max_series = max_series
        self._counted: dict[str, _Counted] = {}
        self._step = recorder.update()
        self._dropped = recorder.counter(SERIES_DROPPED)

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        counted = self._counted.get(metric.name)
        if counted is not None and counted.open_values(values) in counted.seen:
            return values
        with self._step:  # the recorder's own lock, which is held over a fork
            passes = self._passes(metric, values)
        return values if passes else self._rejected(metric, values)

    def keeps(self, metric: Metric, values: tuple[str, ...]) -> bool:
        counted = self._counted.get(metric.name)
        if (
            counted is None
            or len(counted.seen) < self.max_series
            or counted.open_values(values) in counted.seen
        ):
            return self._next.keeps(metric, values)
        self._rejected(metric, values)
        return False

    def bind_each(self, wanted: Sequence[Wanted]) -> list[Any]:
        passes = self._passes
        with self._step:
            past = [each for each in wanted if not passes(each[0], each[1][0])]
        return self._next.bind_each(self._limited(wanted) if past else wanted)

    def _limited(self, wanted: Sequence[Wanted]) -> Sequence[Wanted]:
        outward = self.outward_values
        return [(metric, [outward(metric, values) for values in sets]) for metric, sets in wanted]

    def _passes(self, metric: Metric, values: tuple[str, ...]) -> bool:
        """Whether a label set is one of those within the limit; to be asked under the lock."""
        counted = self._counted.get(metric.name)
        if counted is None:
            counted = self._counted.setdefault(metric.name, _Counted(metric))
        open_values, seen = counted.open_values(values), counted.seen
        if open_values in seen:
            return True
        if len(seen) < self.max_series:
            seen.add(open_values)
            return True
        return False

    def _rejected(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        """The label set that stands for one past the limit, which is counted, unless it stands for
        others itself."""
        counted = self._counted[metric.name]
        stands_for_it = tuple(
            value if label in metric.closed_labels else OTHER
            for label, value in zip(metric.labels, values, strict=True)
        )
        open_values, rejected = counted.open_values(values), counted.rejected
        if OTHER in open_values:
            return stands_for_it
        with self._step:
            is_new = open_values not in rejected
            if is_new:
                if len(rejected) >= self.max_series:
                    rejected.clear()
                rejected.add(open_values)
        if is_new:
            self._dropped.labels(metric.name).inc()
        return stands_for_it


class _Counted:
    """The label sets of one metric, by the values of the labels that count."""

    def __init__(self, metric: Metric) -> None:
        labels, closed = metric.labels, metric.closed_labels
        places = [place for place, label in enumerate(labels) if label not in closed]
        self.open_values = _picking(places, len(labels))
        self.seen: set[OpenValues] = set() if places else {()}
        self.rejected: set[OpenValues] = set()


def _picking(places: list[int], of: int) -> Callable[[tuple[str, ...]], OpenValues]:
    """A function that takes the values in these places out of so many."""
    if len(places) == of:
        return tuple  # which returns the very tuple that it is given
    return itemgetter(*places) if places else lambda values: ()


def is_limited(recorder: Recorder) -> bool:
    """Whether every way through this recorder leads past a cardinality limit."""
    if isinstance(recorder, CardinalityLimit):
        return True
    return bool(recorder.inner) and all(map(is_limited, recorder.inner))
