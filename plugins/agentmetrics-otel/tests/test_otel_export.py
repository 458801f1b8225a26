"""Exporting by OTLP from a provider of our own: variables, layers, a collector that is away."""

from __future__ import annotations

import logging
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator

import pytest

import agentmetrics
from agentmetrics import (
    CommonLabels,
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    Metric,
    MetricsCallbackHandler,
    Namespace,
    Recorder,
)
from agentmetrics.config.active import replaced
from agentmetrics.plugin import Options, Sample, pipeline_of
from agentmetrics_otel import OTelRecorder
from benchmarks.workload import calls_of, drive
from tests.services.otlp import OTLPReceiver
from tests.services.process import free_port

JOBS = Metric("jobs_total", "counter", "Jobs.", ("queue",))
WAITS = Metric("job_wait_seconds", "histogram", "Waits.", ("queue",), "seconds", (0.1, 1.0))
RUNNING = Metric("jobs_running", "gauge", "Running.", ("queue",), merge="sum")
LEVEL = Metric("tank_level_ratio", "gauge", "How full.", (), "ratio")


@pytest.fixture
def recorder(otlp: OTLPReceiver) -> Iterator[OTelRecorder]:
    recorder = OTelRecorder()
    yield recorder
    recorder.close()


def calls(recorder: Recorder, count: int = 3, agents: int = 1) -> None:
    names = [f"agent-{number}" for number in range(agents)]
    drive(MetricsCallbackHandler(recorder), calls_of(names, 0, count))


# What arrives


def test_every_value_of_a_call_arrives_under_the_catalogues_name(
    recorder: OTelRecorder, otlp: OTLPReceiver
) -> None:
    calls(recorder, 3)
    recorder.flush()
    delivered = by_labels(otlp.samples())
    read = by_labels(recorder.samples())
    assert len(read) > 70
    for key, value in read.items():
        if "memory_available" not in key[0]:  # which has changed meanwhile
            assert delivered.get(key, 0) == pytest.approx(value), key
    assert otlp.total("llm_calls_total", status="success") == 3
    assert otlp.total("llm_tokens_total", token_type="input") == 3 * 412
    assert otlp.count("llm_latency_seconds", agent_name="agent-0", model="gpt-4o-mini") == 3


def by_labels(samples: Iterable[Sample]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Values by name and labels; of a bucket's bound, written in either way, the number."""
    found = {}
    for name, labels, value in samples:
        if "le" in labels:
            labels = {**labels, "le": str(float(labels["le"]))}
        found[name, frozenset(labels.items())] = value
    return found


def test_counters_are_monotonic_sums_what_is_in_flight_adds_up_and_the_rest_are_gauges(
    recorder: OTelRecorder, otlp: OTLPReceiver
) -> None:
    recorder.counter(JOBS).labels("mail").inc()
    recorder.gauge(RUNNING).labels("mail").inc()
    recorder.gauge(LEVEL).labels().set(0.25)
    recorder.flush()
    ((_, jobs),), ((_, running),) = otlp.named("jobs_total"), otlp.named("jobs_running")
    ((_, level),) = otlp.named("tank_level_ratio")
    assert (jobs.kind, jobs.is_monotonic) == ("sum", True)
    assert (running.kind, running.is_monotonic) == ("sum", False)
    assert (level.kind, level.unit, level.value) == ("gauge", "1", 0.25)


def test_units_never_change_a_name_for_a_receiver_that_appends_them(
    recorder: OTelRecorder, otlp: OTLPReceiver
) -> None:
    calls(recorder)
    recorder.flush()
    suffixes = {"s": "seconds", "By": "bytes", "%": "percent", "1": "ratio"}
    for name in otlp.names():
        for _, stream in otlp.named(name):
            assert (
                not stream.unit or stream.unit.startswith("{") or (suffixes[stream.unit] in name)
            ), (name, stream.unit)


def test_no_attribute_is_of_one_request(recorder: OTelRecorder, otlp: OTLPReceiver) -> None:
    calls(recorder, 1)
    recorder.flush()
    streams = len(otlp.streams)
    calls(recorder, 50)
    recorder.flush()
    assert len(otlp.streams) == streams


def test_a_gauge_without_a_number_is_left_out_and_the_others_arrive(
    recorder: OTelRecorder, otlp: OTLPReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.gauge(LEVEL).labels().set(float("nan"))
    recorder.gauge(RUNNING).labels("mail").set("many")  # type: ignore[arg-type]
    recorder.counter(JOBS).labels("mail").inc()
    recorder.flush()
    assert otlp.names() == {"jobs_total"}
    assert not caplog.records


# Layers


def test_names_labels_and_limits_of_the_layers_around_are_in_what_arrives(
    otlp: OTLPReceiver,
) -> None:
    memory = MemoryRecorder()
    both = FanoutRecorder([OTelRecorder(), memory])
    recorder = Namespace(CommonLabels(both, {"env": "prod"}), "shop")
    pipeline_of(recorder, Options(max_series=2, extra_labels=("tenant",)))
    with agentmetrics.labels(tenant="acme"):
        calls(recorder, 4, agents=4)
    recorder.close()
    arrived = otlp.named("shop_llm_calls_total", env="prod", status="success")
    assert {(found["agent_name"], found["tenant"]): it.value for found, it in arrived} == {
        ("agent-0", "acme"): 1,
        ("agent-1", "acme"): 1,
        ("other", "other"): 2,
    }
    assert otlp.total("shop_agentmetrics_series_dropped_total", metric="llm_calls_total") == 2
    assert memory.value("shop_llm_calls_total", status="success") == 4


def test_more_series_than_the_sdk_would_keep_arrive_apart(
    recorder: OTelRecorder, otlp: OTLPReceiver
) -> None:
    jobs = recorder.counter(JOBS)
    for number in range(2100):
        jobs.labels(f"queue-{number}").inc()
    recorder.flush()
    assert len(otlp.named("jobs_total")) == 2100


def test_a_setting_makes_it(otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTMETRICS_BACKEND", "memory,otel")
    monkeypatch.setenv("AGENTMETRICS_SERVICE", "shop")
    with replaced(MemoryRecorder()):  # and back to what was configured before
        recorder = agentmetrics.configure()
        calls(recorder, 2)
        recorder.flush()
        assert otlp.total("llm_calls_total", status="success") == 2
        assert otlp.resources()[0]["service.name"] == "shop"
        assert recorder.value("llm_calls_total", status="success") == 2


# The variables


def test_the_resource_is_that_of_the_variables_and_every_recorder_names_its_process(
    otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "checkout")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod")
    recorder = OTelRecorder(service="ignored", service_version="1.2")
    recorder.counter(JOBS).labels("mail").inc()
    recorder.close()
    (resource,) = otlp.resources()
    assert resource["service.name"] == "checkout"
    assert resource["service.version"] == "1.2"
    assert resource["deployment.environment.name"] == "prod"
    assert re.fullmatch(r"[0-9a-f-]{36}", resource["service.instance.id"])


def test_headers_and_the_endpoint_of_metrics_are_used(
    otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{otlp.endpoint}/my/metrics")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    recorder = OTelRecorder()
    recorder.counter(JOBS).labels("mail").inc()
    recorder.close()
    path, headers = otlp.requests[0]
    assert (path, headers["api-key"]) == ("/my/metrics", "secret")
    assert otlp.total("jobs_total") == 1


def test_it_exports_by_itself_at_the_interval(
    otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    recorder = OTelRecorder()
    jobs = recorder.counter(JOBS).labels("mail")
    jobs.inc()
    otlp.wait_for(lambda: otlp.total("jobs_total") == 1)
    jobs.inc()
    otlp.wait_for(lambda: otlp.total("jobs_total") == 2)
    recorder.close()


@pytest.mark.parametrize("preference", ["cumulative", "delta", "lowmemory"])
def test_sums_are_right_with_every_temporality(
    otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch, preference: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)
    recorder = OTelRecorder()
    jobs, waits = recorder.counter(JOBS).labels("mail"), recorder.histogram(WAITS).labels("mail")
    running = recorder.gauge(RUNNING).labels("mail")
    for number in (1, 2, 3):
        jobs.inc(number)
        waits.observe(number)
        running.set(number)
        recorder.flush()
    assert otlp.total("jobs_total") == 6
    assert (otlp.count("job_wait_seconds"), otlp.total("job_wait_seconds")) == (3, 6)
    assert otlp.total("jobs_running") == 3
    ((_, stream),) = otlp.named("job_wait_seconds")
    assert stream.is_delta == (preference != "cumulative")
    recorder.close()


@pytest.mark.parametrize(
    ("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")]
)
def test_switched_off_it_exports_nothing_and_can_be_read(
    otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    recorder = OTelRecorder()
    calls(recorder, 2)
    assert recorder.value("llm_calls_total", status="success") == 2
    assert recorder.probe() is None
    recorder.close()
    assert not otlp.requests


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "write one of http/protobuf, grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "begin with http:// or https://"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "write milliseconds above 0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "write milliseconds above 0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "write milliseconds above 0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "inf", "write milliseconds above 0"),
        ("OTEL_METRICS_EXPORTER", "console", "OTEL_METRICS_EXPORTER=otlp or none"),
        ("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_experimental", "gen_ai_latest_experimental/dup"),
    ],
)
def test_a_variable_that_can_never_work_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        OTelRecorder()
    assert said in str(raised.value)
    assert variable in str(raised.value)


def test_grpc_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")
    with pytest.raises(ConfigurationError, match=r"METRICS_PROTOCOL='grpc'.*pip install"):
        OTelRecorder()


def test_a_name_that_opentelemetry_does_not_take_is_said_at_the_start(otlp: OTLPReceiver) -> None:
    with pytest.raises(ConfigurationError, match=r"'_shop_llm_calls_total'.*begin with a letter"):
        pipeline_of(Namespace(OTelRecorder(), "_shop"))


@pytest.mark.parametrize("unit", ["x" * 70, "\u00b5g", "jobs"])
def test_any_unit_of_a_metric_can_be_had(
    recorder: OTelRecorder, otlp: OTLPReceiver, unit: str
) -> None:
    recorder.counter(Metric("odd_total", "counter", "Odd.", (), unit)).labels().inc()
    recorder.flush()
    ((_, stream),) = otlp.named("odd_total")
    assert stream.unit == ("{job}" if unit == "jobs" else "")


def test_an_empty_variable_is_one_that_is_not_set(
    otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("METRIC_EXPORT_INTERVAL", "EXPORTER_OTLP_PROTOCOL", "METRICS_EXPORTER"):
        monkeypatch.setenv(f"OTEL_{variable}", "")
    recorder = OTelRecorder()
    recorder.counter(JOBS).labels("mail").inc()
    recorder.close()
    assert otlp.total("jobs_total") == 1


# A collector that is away


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that tries for less than the second that it would wait between two attempts."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")


@pytest.mark.usefixtures("impatient")
def test_what_was_counted_while_the_collector_was_away_is_in_the_next_export(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:s3cret@127.0.0.1:{port}/t0ken")
    recorder = OTelRecorder()
    jobs, waits = recorder.counter(JOBS).labels("mail"), recorder.histogram(WAITS).labels("mail")
    for _ in range(3):
        jobs.inc()
        waits.observe(0.5)
        recorder.flush()
    (said,) = caplog.records
    assert said.name == "agentmetrics"
    assert f"127.0.0.1:{port}" in said.getMessage()
    assert "s3cret" not in said.getMessage()
    assert "t0ken" not in said.getMessage()
    assert recorder.value("agentmetrics_packets_dropped_total", backend="otel") == 3

    receiver = OTLPReceiver(port)
    recorder.flush()
    assert receiver.total("jobs_total") == 3
    assert receiver.count("job_wait_seconds") == 3
    receiver.close()
    recorder.flush()
    assert len(caplog.records) == 2  # it came back, so its next absence is news
    recorder.close()


@pytest.mark.usefixtures("impatient")
def test_a_refusal_is_said_with_its_status_and_once(
    otlp: OTLPReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = OTelRecorder()
    recorder.counter(JOBS).labels("mail").inc()
    otlp.answers.extend([401, 401, 400])
    for _ in range(3):
        recorder.flush()
    (said,) = caplog.records
    assert "HTTP status 401" in said.getMessage()
    recorder.close()
    assert otlp.total("jobs_total") == 1


def test_updates_do_not_wait_for_a_collector_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}"
        )
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.4")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
        recorder = OTelRecorder()
        jobs, longest = recorder.counter(JOBS).labels("mail"), 0.0
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            began = time.monotonic()
            with recorder.update():
                jobs.inc()
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.001)
        recorder.close()
    assert longest < 0.3
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_a_flush_inside_of_an_update_leaves_it_to_the_next(
    recorder: OTelRecorder, otlp: OTLPReceiver
) -> None:
    jobs = recorder.counter(JOBS).labels("mail")
    with recorder.update():
        jobs.inc()
        recorder.flush()
        assert not otlp.requests
    recorder.flush()
    assert otlp.total("jobs_total") == 1


def test_a_metric_that_is_first_used_inside_of_an_update_arrives(
    recorder: OTelRecorder, otlp: OTLPReceiver
) -> None:
    with recorder.update():
        recorder.counter(JOBS).labels("mail").inc()
    recorder.flush()
    assert otlp.total("jobs_total") == 1


# Testing the connection


def test_probe_is_none_where_the_collector_takes_metrics(otlp: OTLPReceiver) -> None:
    assert OTelRecorder().probe() is None
    assert len(otlp.requests) == 1
    assert not otlp.streams


def test_probe_says_why_where_it_does_not(
    otlp: OTLPReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    otlp.answers.append(403)
    assert OTelRecorder().probe() == (
        f"the collector at 127.0.0.1:{otlp.port} takes no metrics: HTTP status 403"
    )
    port = free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    said = OTelRecorder().probe(0.5)
    assert said is not None
    assert f"127.0.0.1:{port}" in said
    assert time.monotonic() - began < 3
    assert not caplog.records
