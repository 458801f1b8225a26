"""A limit on how many series a metric can have."""

from __future__ import annotations

from agentmetrics.catalog import SERIES_DROPPED
from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder

OTHER = "other"
"""The value that labels get past the cardinality limit."""


class CardinalityLimit(Layer):
    """At most ``max_series`` label sets a metric; past it label values become ``other``.

    Labels with a fixed set of values (``metric.closed_labels``) keep theirs, so sums by
    ``status`` stay right. ``agentmetrics_series_dropped_total{metric}`` counts each time a
    label set was turned away.
    """

    def __init__(self, recorder: Recorder, max_series: int | None = None) -> None:
        super().__init__(recorder)
        if max_series is not None:
            self.max_series = max_series
        self._known: dict[str, set[tuple[str, ...]]] = {}
        self._step = recorder.update()
        self._dropped = recorder.counter(SERIES_DROPPED)

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        with self._step:  # the recorder's own lock, which is held over a fork
            known = self._known.setdefault(metric.name, set())
            if values in known or not metric.labels:
                return values
            if len(known) < self.max_series:
                known.add(values)
                return values
        self._dropped.labels(metric.name).inc()
        return tuple(
            value if label in metric.closed_labels else OTHER
            for label, value in zip(metric.labels, values, strict=True)
        )


def limited(recorder: Recorder) -> Recorder:
    """The recorder with a cardinality limit: the one it has, else one of its own."""
    return recorder if _is_limited(recorder) else recorder.attached(CardinalityLimit)


def _is_limited(recorder: Recorder) -> bool:
    if isinstance(recorder, CardinalityLimit):
        return True
    return bool(recorder.inner) and all(map(_is_limited, recorder.inner))
