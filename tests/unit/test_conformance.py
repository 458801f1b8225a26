"""Every built-in backend and layer, in the suite that third-party backends run too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from socket import SOCK_DGRAM

import pytest
from prometheus_client import CollectorRegistry, values
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics import (
    CardinalityLimit,
    CommonLabels,
    FanoutRecorder,
    MemoryRecorder,
    Namespace,
    NoopRecorder,
    PrometheusRecorder,
    Recorder,
    StatsDRecorder,
)
from agentmetrics.recording.layers.selection import Selection
from agentmetrics.recording.values import Sample
from agentmetrics.testing.conformance import RecorderConformance
from tests.services.process import free_port


def of_memory(recorder: Recorder) -> Iterator[Sample]:
    assert isinstance(recorder, MemoryRecorder)
    return recorder.samples()


class TestMemory(RecorderConformance):
    def make(self) -> Recorder:
        return MemoryRecorder()

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        return of_memory(recorder)


class TestPrometheusAsScraped(RecorderConformance):
    def make(self) -> Recorder:
        return PrometheusRecorder(CollectorRegistry())

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        assert isinstance(recorder, PrometheusRecorder)
        text = recorder.exposition().body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield Sample(sample.name, sample.labels, sample.value)


class TestPrometheusAcrossProcesses(RecorderConformance):
    """Written through to the files that all workers share, and read back from them."""

    consistent_updates = False  # files have no lock

    @pytest.fixture(autouse=True)
    def multiprocess_mode(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        # which prometheus-client chooses once, at import
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())

    def make(self) -> Recorder:
        return PrometheusRecorder(CollectorRegistry())

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        assert isinstance(recorder, PrometheusRecorder)
        text = recorder.exposition().body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield Sample(sample.name, sample.labels, sample.value)


class TestFanoutFirst(RecorderConformance):
    def make(self) -> Recorder:
        return FanoutRecorder([MemoryRecorder(), PrometheusRecorder(CollectorRegistry())])

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        return of_memory(recorder.inner[0])


class TestFanoutLast(RecorderConformance):
    def make(self) -> Recorder:
        prometheus = PrometheusRecorder(CollectorRegistry())
        return FanoutRecorder([NoopRecorder(), prometheus, MemoryRecorder()])

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        return of_memory(recorder.inner[-1])


class TestNamespace(RecorderConformance):
    def make(self) -> Recorder:
        return Namespace(MemoryRecorder(), "shop")

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        for sample in of_memory(recorder.inner[0]):
            assert sample.name.startswith("shop_")
            yield sample._replace(name=sample.name.removeprefix("shop_"))


class TestCommonLabels(RecorderConformance):
    def make(self) -> Recorder:
        return CommonLabels(MemoryRecorder(), {"env": "prod", "region": "eu"})

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        for sample in of_memory(recorder.inner[0]):
            labels = dict(sample.labels)
            assert (labels.pop("env"), labels.pop("region")) == ("prod", "eu")
            yield sample._replace(labels=labels)


class TestCardinalityLimit(RecorderConformance):
    def make(self) -> Recorder:
        return CardinalityLimit(MemoryRecorder())

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        return of_memory(recorder.inner[0])


class TestSelection(RecorderConformance):
    def make(self) -> Recorder:
        return Selection(MemoryRecorder(), lambda name: False, (), lambda metric: True)

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        return of_memory(recorder.inner[0])


class TestLayersOnLayers(RecorderConformance):
    def make(self) -> Recorder:
        inner = CommonLabels(FanoutRecorder([MemoryRecorder()]), {"env": "prod"})
        return CardinalityLimit(Namespace(inner, "shop"))

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        for sample in of_memory(recorder.inner[0].inner[0].inner[0].inner[0]):
            labels = dict(sample.labels)
            assert labels.pop("env") == "prod"
            yield sample._replace(name=sample.name.removeprefix("shop_"), labels=labels)


class TestStatsD(RecorderConformance):
    """What its flushes are made from; what they say is shown in test_statsd.py."""

    def make(self) -> Recorder:
        return StatsDRecorder("127.0.0.1", free_port(SOCK_DGRAM), flush_interval_seconds=3600)

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        assert isinstance(recorder, StatsDRecorder)
        reader = MemoryRecorder()
        reader.store = recorder.store
        return reader.samples()
