"""The suite that every backend passes, as an Agent sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from agentmetrics import Recorder
from agentmetrics.plugin import Sample
from agentmetrics.testing.conformance import RecorderConformance
from agentmetrics_datadog import DogStatsDRecorder
from tests.services.dogstatsd import agent_at

LONG = 3600.0  # an interval that no test sees the end of


class TestDogStatsD(RecorderConformance):
    """What an Agent that adds up what it hears would know."""

    buckets = False  # a distribution has values

    @pytest.fixture(autouse=True)
    def _listening(self, tmp_path: Path) -> Iterator[None]:
        with agent_at("unix", tmp_path) as self.agent:
            yield

    def make(self) -> Recorder:
        return DogStatsDRecorder(self.agent.url, flush_interval_seconds=LONG)

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        assert isinstance(recorder, DogStatsDRecorder)
        self.agent.settle()
        labels = {name: metric.labels for name, metric in recorder.store.metrics.items()}
        for (name, tags), value in {**self.agent.counters(), **self.agent.gauges()}.items():
            yield Sample(name, dict.fromkeys(labels[name], "") | dict(tags), value)
        for (name, tags), (count, total) in self.agent.distributions().items():
            yield Sample(f"{name}_count", dict(tags), count)
            yield Sample(f"{name}_sum", dict(tags), total)
