"""The suite that every backend passes: what a receiver got, what is read, and on a provider."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from agentmetrics import Metric, Recorder
from agentmetrics.plugin import Sample
from agentmetrics.testing.conformance import RecorderConformance
from agentmetrics_otel import OTelRecorder
from tests.services.otlp import OTLPReceiver

SECONDS = Metric("waits_seconds", "histogram", "Waits.", (), "seconds", (0.1, 1.0))


class TestByOTLP(RecorderConformance):
    """By what a collector received from a provider of our own."""

    buckets = False  # the suite's have values that OpenTelemetry drops; see below

    @pytest.fixture(autouse=True)
    def exporting(self, otlp: OTLPReceiver) -> None:
        self.receiver = otlp

    def make(self) -> Recorder:
        return OTelRecorder()

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        return self.receiver.samples()


class TestReadings(RecorderConformance):
    """By what the recorder itself has to read."""

    @pytest.fixture(autouse=True)
    def exporting(self, otlp: OTLPReceiver) -> None:
        """To a receiver that nobody asks."""

    def make(self) -> Recorder:
        return OTelRecorder()


class TestOnAProvider(RecorderConformance):
    """By what a reader of the user's provider collects, at a time of its own."""

    buckets = False
    consistent_updates = False  # the provider reads when it likes

    def make(self) -> Recorder:
        self.reader = InMemoryMetricReader()
        return OTelRecorder(MeterProvider([self.reader]))

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        data = self.reader.get_metrics_data()
        if data is None:
            return
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                labels = {key: str(value) for key, value in (point.attributes or {}).items()}
                if hasattr(point, "value"):
                    yield Sample(metric.name, labels, point.value)
                elif hasattr(point, "sum"):
                    yield Sample(f"{metric.name}_sum", labels, point.sum)
                    yield Sample(f"{metric.name}_count", labels, point.count)


def test_delivered_buckets_have_the_metrics_bounds_and_include_them(otlp: OTLPReceiver) -> None:
    recorder = OTelRecorder()
    seconds = recorder.histogram(SECONDS).labels()
    for value in (0.0, 0.1, 0.5, 1.0, 7.0, -1.0, math.inf):  # of which the last two cannot go
        seconds.observe(value)
    recorder.close()
    ((_, stream),) = otlp.named("waits_seconds")
    assert (stream.bounds, stream.counts, stream.unit) == ((0.1, 1.0), (2, 2, 1), "s")
    assert stream.value == pytest.approx(8.6)
