"""Additional labels on every series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric, check_label_name, clean_label
from agentmetrics.recording.recorder import Recorder


class CommonLabels(Layer):
    """Adds the same labels to every series: ``CommonLabels(recorder, {"env": "prod"})``.

    Readings do not include them. Raises ``ValueError`` for an invalid label name.
    """

    def __init__(self, recorder: Recorder, labels: Mapping[str, str]) -> None:
        super().__init__(recorder)
        for name in labels:
            check_label_name(name)
        self._names, self._values = tuple(labels), tuple(map(clean_label, labels.values()))

    def outward(self, metric: Metric) -> Metric:
        return metric.with_labels(self._names)

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        return values + self._values

    def inward(self, metric: Metric) -> Metric | None:
        own = _without_end(metric.labels, self._names)
        return None if own is None else replace(metric, labels=own)

    def inward_values(self, values: tuple[str, ...]) -> tuple[str, ...] | None:
        return _without_end(values, self._values)


def _without_end(texts: tuple[str, ...], end: tuple[str, ...]) -> tuple[str, ...] | None:
    """The texts before ``end``; ``None`` where they do not end so."""
    length = len(texts) - len(end)
    return texts[:length] if length >= 0 and texts[length:] == end else None
