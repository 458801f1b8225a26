"""A prefix for every metric."""

from __future__ import annotations

from dataclasses import replace

from agentmetrics.recording.health import SERIES_DROPPED
from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder


class Namespace(Layer):
    """Adds a prefix to every metric: ``shop_llm_calls_total`` in ``Namespace(recorder, "shop")``.

    Readings use the names without it. Raises ``ValueError`` for a prefix that does not form valid
    names.
    """

    def __init__(self, recorder: Recorder, prefix: str) -> None:
        super().__init__(recorder)
        self.prefix = prefix
        self.outward(SERIES_DROPPED)  # an illegal prefix shows now

    def outward(self, metric: Metric) -> Metric:
        return replace(metric, name=f"{self.prefix}_{metric.name}")

    def inward(self, metric: Metric) -> Metric | None:
        prefix = f"{self.prefix}_"
        if not metric.name.startswith(prefix):
            return None
        return replace(metric, name=metric.name.removeprefix(prefix))
