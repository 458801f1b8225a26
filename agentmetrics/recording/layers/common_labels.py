"""Every series with the same further labels."""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric, check_label_name
from agentmetrics.recording.recorder import Recorder


class CommonLabels(Layer):
    """Every series with the same further labels: ``CommonLabels(recorder, {"env": "prod"})``."""

    def __init__(self, recorder: Recorder, labels: Mapping[str, str]) -> None:
        super().__init__(recorder)
        for name in labels:
            check_label_name(name)
        self._names, self._values = tuple(labels), tuple(labels.values())

    def outward(self, metric: Metric) -> Metric:
        return metric.with_labels(self._names)

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        return values + self._values
