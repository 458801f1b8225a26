"""Reading a recorder: what the README shows works for every recorder that keeps values."""

from __future__ import annotations

from typing import Any

import pytest

from agentmetrics import (
    CommonLabels,
    FanoutRecorder,
    MemoryRecorder,
    Namespace,
    NoopRecorder,
    PrometheusRecorder,
    Recorder,
    StatsDRecorder,
    configure,
    track_call,
)
from agentmetrics.config.active import replaced
from agentmetrics.errors import UnknownMetricError


@pytest.fixture(autouse=True)
def untouched() -> Any:
    with replaced(NoopRecorder()):
        yield


SETTINGS: dict[str, dict[str, Any]] = {
    "memory": {},
    "common labels": {"common_labels": "env=prod"},
    "namespace": {"namespace": "shop"},
    "a second backend": {"backend": "memory,noop"},
    "a second backend first": {"backend": "noop,memory"},
    "everything": {"backend": "noop,memory", "namespace": "shop", "common_labels": "env=prod"},
    "statsd": {"backend": "statsd", "statsd_flush_interval": 3600},
    "statsd and common labels": {"backend": "statsd", "common_labels": "env=prod"},
    "statsd and a namespace": {"backend": "statsd", "namespace": "shop"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
class TestTheExampleOfTheReadme:
    @pytest.fixture
    def recorder(self, settings: dict[str, Any]) -> Recorder:
        recorder = configure(**settings)
        with track_call("openai", "gpt-4o-mini", agent_name="reviewer") as call:
            call.record_usage(1000, 500)
        return recorder

    def test_the_readmes_example_reads_values_and_quantiles(self, recorder: Recorder) -> None:
        assert recorder.value("llm_calls_total", agent_name="reviewer", status="success") == 1
        assert recorder.value("llm_cost_usd_total") == pytest.approx(0.00045)
        assert recorder.histogram("llm_latency_seconds").count == 1
        assert 0 <= recorder.histogram("llm_latency_seconds").quantile(0.95) <= 0.1

    def test_everything_is_read_by_the_names_that_were_recorded(self, recorder: Recorder) -> None:
        calls = recorder.snapshot()["llm_calls_total"]["series"]
        labels = {"agent_name": "reviewer", "provider": "openai", "model": "gpt-4o-mini"}
        assert {"labels": {**labels, "status": "success"}, "value": 1.0} in calls
        assert sum(series["value"] for series in calls) == 1.0
        found = [s for s in recorder.samples() if s.name == "llm_tokens_total"]
        assert {s.labels["token_type"]: s.value for s in found} == {"input": 1000, "output": 500}

    def test_a_reading_says_what_is_misspelt(self, recorder: Recorder) -> None:
        for read in (recorder.value, recorder.histogram):
            with pytest.raises(UnknownMetricError, match="'llm_calls_totl'; did you mean"):
                read("llm_calls_totl")
            with pytest.raises(UnknownMetricError, match="read it with"):
                recorder.histogram("llm_calls_total")


def test_a_recorder_that_keeps_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError, match="NoopRecorder keeps no values to read: use"):
        NoopRecorder().value("llm_calls_total")
    with pytest.raises(NotImplementedError, match="FanoutRecorder keeps no values"):
        FanoutRecorder([NoopRecorder()]).snapshot()


def test_prometheus_is_read_in_its_own_process_too() -> None:
    from prometheus_client import CollectorRegistry

    recorder = PrometheusRecorder(CollectorRegistry())
    with track_call("openai", "gpt-4o-mini", recorder=recorder):
        pass
    assert recorder.value("llm_calls_total") == 1


def test_what_others_put_into_the_same_store_is_not_read_through_a_layer() -> None:
    memory = MemoryRecorder()
    shop, bare = Namespace(memory, "shop"), CommonLabels(memory, {"env": "prod"})
    for recorder in (shop, bare):
        with track_call("openai", "gpt-4o-mini", recorder=recorder):
            pass
    assert shop.value("llm_calls_total") == 1
    assert bare.value("llm_calls_total") == 1
    assert {"shop_llm_calls_total", "llm_calls_total"} <= memory.snapshot().keys()


class TestABackendsOwnMetrics:
    """They go through the layers around, and to the backends beside."""

    def lose_a_packet(self, statsd: StatsDRecorder) -> None:
        statsd._count_lost(1)

    def test_a_backends_own_metrics_have_the_namespace_and_the_common_labels(self) -> None:
        configure(backend="statsd", namespace="shop", common_labels="env=prod")
        statsd = StatsDRecorder(flush_interval_seconds=3600)
        layers = Namespace(CommonLabels(statsd, {"env": "prod"}), "shop")
        with track_call("openai", "gpt-4o-mini", recorder=layers):
            pass
        self.lose_a_packet(statsd)
        assert layers.value("agentmetrics_packets_dropped_total", backend="statsd") == 1
        [found] = statsd.snapshot()["shop_agentmetrics_packets_dropped_total"]["series"]
        assert found == {"labels": {"backend": "statsd", "env": "prod"}, "value": 1.0}

    def test_a_backends_own_metrics_reach_the_backends_that_can_still_be_read(self) -> None:
        statsd, memory = StatsDRecorder(flush_interval_seconds=3600), MemoryRecorder()
        FanoutRecorder([statsd, memory]).update()
        self.lose_a_packet(statsd)
        assert memory.value("agentmetrics_packets_dropped_total", backend="statsd") == 0
        fanout = FanoutRecorder([statsd, memory])
        self.lose_a_packet(statsd)
        assert memory.value("agentmetrics_packets_dropped_total", backend="statsd") == 1
        fanout.close()
