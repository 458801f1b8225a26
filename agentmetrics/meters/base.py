"""What meters share: catalogue entries as instruments of one recorder."""

from __future__ import annotations

from agentmetrics.catalog import for_recorder
from agentmetrics.recording.instruments import Counter, Gauge, Histogram
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder


class Instruments:
    """Instruments with the labels and buckets that the recorder asks for."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def counter(self, metric: Metric) -> Counter:
        return self._recorder.counter(for_recorder(metric, self._recorder))

    def gauge(self, metric: Metric) -> Gauge:
        return self._recorder.gauge(for_recorder(metric, self._recorder))

    def histogram(self, metric: Metric) -> Histogram:
        return self._recorder.histogram(for_recorder(metric, self._recorder))
