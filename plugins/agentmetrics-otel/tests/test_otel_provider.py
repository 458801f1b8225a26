"""On a MeterProvider that the user has: nothing of it is changed, and nothing is lost."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.metrics import _internal as api_internal
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once

from agentmetrics import Metric, MetricsCallbackHandler, Recorder
from agentmetrics.plugin import pipeline_of
from agentmetrics_otel import OTelRecorder
from benchmarks.workload import calls_of, drive
from tests.services.otlp import OTLPReceiver

JOBS = Metric("jobs_total", "counter", "Jobs.", ("queue",))
WAITS = Metric("job_wait_seconds", "histogram", "Waits.", ("queue",), "seconds", (0.1, 1.0))
RUNNING = Metric("jobs_running", "gauge", "Running.", ("queue",), merge="sum")


class Collected:
    """What a reader of a provider has collected until now."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader
        self._latest: MetricsData | None = None

    def again(self) -> Collected:
        self._latest = self._reader.get_metrics_data()
        return self

    def metrics(self) -> dict[str, Any]:
        data = self._latest
        if data is None:
            return {}
        return {
            metric.name: metric
            for of_resource in data.resource_metrics
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
        }

    def total(self, name: str, **attributes: str) -> float:
        points = self.metrics()[name].data.data_points if name in self.metrics() else []
        return sum(
            point.sum if hasattr(point, "sum") else point.value
            for point in points
            if attributes.items() <= dict(point.attributes).items()
        )


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def collected(reader: InMemoryMetricReader) -> Collected:
    return Collected(reader)


@pytest.fixture
def users(reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch) -> MeterProvider:
    """The global provider, set as a program does; the API lets that be done once a process."""
    monkeypatch.setattr(api_internal, "_METER_PROVIDER", None)
    monkeypatch.setattr(api_internal, "_METER_PROVIDER_SET_ONCE", Once())
    provider = MeterProvider([reader])
    api.set_meter_provider(provider)
    return provider


def calls(recorder: Recorder, count: int = 3) -> None:
    drive(MetricsCallbackHandler(recorder), calls_of(["agent-0"], 0, count))


def test_the_global_provider_is_used_and_keeps_its_readers(
    users: MeterProvider, collected: Collected, otlp: OTLPReceiver
) -> None:
    threads = threading.active_count()
    recorder = OTelRecorder()
    calls(recorder, 3)
    assert collected.again().total("llm_calls_total", status="success") == 3
    assert collected.total("llm_call_cost_usd") > 0
    recorder.close()
    assert api.get_meter_provider() is users
    assert len(users._measurement_consumer._reader_storages) == 1
    assert threading.active_count() == threads
    assert not otlp.requests


def test_its_own_instruments_go_on_after_close(users: MeterProvider, collected: Collected) -> None:
    OTelRecorder().close()
    users.get_meter("app").create_counter("orders").add(2)
    assert collected.again().total("orders") == 2


def test_a_given_provider_goes_before_the_global_one(
    users: MeterProvider, collected: Collected
) -> None:
    own = InMemoryMetricReader()
    recorder = OTelRecorder(MeterProvider([own]))
    recorder.counter(JOBS).labels("mail").inc()
    assert Collected(own).again().total("jobs_total") == 1
    assert "jobs_total" not in collected.again().metrics()


def test_a_provider_that_is_set_between_configuring_and_the_first_call_is_used(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch, otlp: OTLPReceiver
) -> None:
    monkeypatch.setattr(api_internal, "_METER_PROVIDER", None)
    recorder = OTelRecorder()
    pipeline_of(recorder)  # as configure() does
    monkeypatch.setattr(api_internal, "_METER_PROVIDER", MeterProvider([reader]))
    calls(recorder, 2)
    recorder.close()
    assert Collected(reader).again().total("llm_calls_total") == 2
    assert not otlp.requests


def test_a_provider_that_is_set_too_late_is_said_once(
    monkeypatch: pytest.MonkeyPatch, otlp: OTLPReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = OTelRecorder()
    recorder.counter(JOBS).labels("mail").inc()
    monkeypatch.setattr(api_internal, "_METER_PROVIDER", MeterProvider([]))
    recorder.flush()
    recorder.flush()
    (said,) = caplog.records
    assert "set_meter_provider()" in said.getMessage()
    recorder.close()
    assert otlp.total("jobs_total") == 1


def test_buckets_are_advice_that_a_view_of_the_users_overrules(
    reader: InMemoryMetricReader, collected: Collected
) -> None:
    view = View(
        instrument_name="llm_latency_seconds",
        aggregation=ExplicitBucketHistogramAggregation([7.0]),
    )
    calls(OTelRecorder(MeterProvider([reader], views=[view])))
    metrics = collected.again().metrics()
    assert metrics["llm_latency_seconds"].data.data_points[0].explicit_bounds == (7.0,)
    cost = metrics["llm_call_cost_usd"].data.data_points[0]
    assert cost.explicit_bounds[:2] == (0.0001, 0.0003)


def test_two_recorders_on_one_provider_add_up_and_one_that_is_closed_stays_counted(
    reader: InMemoryMetricReader, collected: Collected
) -> None:
    provider = MeterProvider([reader])
    first, second = OTelRecorder(provider), OTelRecorder(provider)
    for recorder in (first, second):
        recorder.counter(JOBS).labels("mail").inc(2)
        recorder.histogram(WAITS).labels("mail").observe(0.5)
        recorder.gauge(RUNNING).labels("mail").inc()
    assert collected.again().total("jobs_total") == 4
    assert collected.total("jobs_running") == 2
    first.close()
    third = OTelRecorder(provider)
    third.counter(JOBS).labels("mail").inc()
    assert collected.again().total("jobs_total") == 5
    assert collected.total("job_wait_seconds") == 1.0
    assert collected.total("jobs_running") == 1  # what was in flight ends with its recorder


def test_deltas_of_a_recorder_that_is_replaced_never_fall(collected: Collected) -> None:
    delta = dict.fromkeys((Counter, ObservableCounter, Histogram), AggregationTemporality.DELTA)
    reader = InMemoryMetricReader(preferred_temporality=delta)  # type: ignore[arg-type]
    provider, collected = MeterProvider([reader]), Collected(reader)
    first = OTelRecorder(provider)
    first.counter(JOBS).labels("mail").inc(5)
    assert collected.again().total("jobs_total") == 5
    first.close()
    OTelRecorder(provider).counter(JOBS).labels("mail").inc(2)
    assert collected.again().total("jobs_total") == 2
    assert collected.again().total("jobs_total") == 0


# Exemplars


def test_exemplars_are_of_the_sampled_span_that_a_call_ended_in(
    reader: InMemoryMetricReader, collected: Collected
) -> None:
    handler = MetricsCallbackHandler(OTelRecorder(MeterProvider([reader])))
    tracer = TracerProvider().get_tracer("app")
    with tracer.start_as_current_span("request") as span:
        drive(handler, calls_of(["agent-0"], 0, 1))
    drive(handler, calls_of(["agent-0"], 0, 1))
    metrics = collected.again().metrics()
    for name in ("llm_latency_seconds", "llm_call_cost_usd"):
        (point,) = metrics[name].data.data_points
        (exemplar,) = point.exemplars
        assert point.count == 2
        assert exemplar.trace_id == span.get_span_context().trace_id
        assert exemplar.span_id == span.get_span_context().span_id


def test_exemplars_arrive_by_otlp(otlp: OTLPReceiver) -> None:
    recorder = OTelRecorder()
    with TracerProvider().get_tracer("app").start_as_current_span("request") as span:
        calls(recorder, 1)
    recorder.close()
    ((_, stream),) = otlp.named("llm_latency_seconds")
    ((value, trace_id, span_id),) = stream.exemplars
    assert value == pytest.approx(stream.value)
    assert trace_id == f"{span.get_span_context().trace_id:032x}"
    assert span_id == f"{span.get_span_context().span_id:016x}"


# Locks


def test_a_reader_that_reads_while_series_are_made_inside_of_updates_never_locks_up(
    reader: InMemoryMetricReader, collected: Collected
) -> None:
    recorder = OTelRecorder(MeterProvider([reader]))
    made = [Metric(f"made_{number}_total", "counter", "Made.", ()) for number in range(150)]
    recorder.observe_gauge(RUNNING, lambda: _in_an_update(recorder))
    done = threading.Event()

    def make() -> None:
        for metric in made:
            with recorder.update():
                recorder.counter(metric).labels().inc()
        done.set()

    def read() -> None:
        while not done.is_set():
            reader.get_metrics_data()

    threads = [threading.Thread(target=work, daemon=True) for work in (make, read)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    for thread in threads:
        thread.join(deadline - time.monotonic())
        assert not thread.is_alive(), "the recorder and the reader wait for each other"
    while not all(metric.name in collected.again().metrics() for metric in made):
        assert time.monotonic() < deadline
    assert sum(collected.total(metric.name) for metric in made) == len(made)


def _in_an_update(recorder: OTelRecorder) -> dict[tuple[str, ...], float]:
    """A gauge that ends what is abandoned when it is read, as those of what is in flight do."""
    late = Metric("ended_while_read_total", "counter", "Ended.", ())
    with recorder.update():
        recorder.counter(late).labels().inc()
    return {("mail",): 1.0}


def test_a_provider_that_cannot_flush_or_fails_to_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(MeterProvider):
        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            raise TimeoutError

    for provider in (Failing(), api.NoOpMeterProvider()):
        recorder = OTelRecorder(provider)
        recorder.counter(JOBS).labels("mail").inc()
        recorder.flush()
        recorder.close()
    (said,) = caplog.records
    assert said.getMessage() == "the MeterProvider could not flush: TimeoutError"
