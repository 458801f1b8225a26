"""A limit on the number of series of a metric."""

from __future__ import annotations

from agentmetrics.recording.health import SERIES_DROPPED
from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder

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
        self._places: dict[str, tuple[int, ...]] = {}
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._rejected: dict[str, set[tuple[str, ...]]] = {}
        self._step = recorder.update()
        self._dropped = recorder.counter(SERIES_DROPPED)

    def _open_places(self, metric: Metric) -> tuple[int, ...]:
        """Where the labels are that count."""
        found = self._places.get(metric.name)
        if found is None:
            closed, labels = metric.closed_labels, metric.labels
            found = tuple(place for place, label in enumerate(labels) if label not in closed)
            self._places[metric.name] = found
        return found

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        open_values = tuple([values[place] for place in self._open_places(metric)])
        if not open_values or open_values in self._seen.get(metric.name, ()):
            return values
        with self._step:  # the recorder's own lock, which is held over a fork
            seen = self._seen.setdefault(metric.name, set())
            if open_values in seen:  # somebody may have been faster
                return values
            if len(seen) < self.max_series:
                seen.add(open_values)
                return values
            rejected = self._rejected.setdefault(metric.name, set())
            is_new = open_values not in rejected
            if is_new:
                if len(rejected) >= self.max_series:
                    rejected.clear()
                rejected.add(open_values)
        if is_new:
            self._dropped.labels(metric.name).inc()
        return tuple(
            value if label in metric.closed_labels else OTHER
            for label, value in zip(metric.labels, values, strict=True)
        )


def is_limited(recorder: Recorder) -> bool:
    """Whether every way through this recorder leads past a cardinality limit."""
    if isinstance(recorder, CardinalityLimit):
        return True
    return bool(recorder.inner) and all(map(is_limited, recorder.inner))
