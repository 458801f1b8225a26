"""What an application says of itself: its own errors, its name and version, and ours."""

from __future__ import annotations

import enum
from importlib.metadata import version
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from agentmetrics import (
    CommonLabels,
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    Metric,
    Namespace,
    PrometheusRecorder,
    Recorder,
    configure,
    record_error,
)
from agentmetrics.config.active import replaced
from tests.unit.scripted import by
from tests.unit.test_layers import BrokenLater

pytestmark = pytest.mark.usefixtures("no_settings")


class Kind(str, enum.Enum):
    LATE = "late"


class PaymentDeclined(Exception):  # noqa: N818 - what it is, in an application
    """An error of an application."""


def errors_of(recorder: Any) -> dict[Any, float]:
    return by(recorder, "errors_total", "error_type", "component")


class TestAnErrorOfTheApplication:
    def test_an_error_is_counted_under_the_name_of_its_class_and_never_its_text(self, recorder):
        record_error(PaymentDeclined("card 4242"), "checkout")
        record_error(PaymentDeclined, "checkout")
        record_error("PaymentDeclined", "checkout")
        assert errors_of(recorder) == {("PaymentDeclined", "checkout"): 3}
        assert not any("4242" in str(sample) for sample in recorder.samples())

    def test_an_error_has_no_component_unless_it_is_given_one(self, recorder):
        record_error("timeout")
        assert errors_of(recorder) == {("timeout", ""): 1}

    def test_an_error_goes_to_the_recorder_that_is_given(self, recorder):
        other = MemoryRecorder()
        record_error("timeout", recorder=other)
        assert (errors_of(recorder), errors_of(other)) == ({}, {("timeout", ""): 1})

    @pytest.mark.parametrize(
        ("error", "name"),
        [
            ("x" * 10_000, "x" * 128),
            ("a\nb\ud800", "a_b_"),
            (type("Odd\n" * 1000, (Exception,), {}), ("Odd_" * 1000)[:128]),
            (type("Odd\n", (Exception,), {})("text"), "Odd_"),
            (Kind.LATE, "late"),
            (KeyboardInterrupt(), "KeyboardInterrupt"),
            (object(), "invalid"),
            (None, ""),
            (404, "404"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_an_error_of_any_name_is_counted_under_one_that_can_be_sent(
        self, recorder, error, name
    ):
        record_error(error, "x" * 10_000)
        assert errors_of(recorder) == {(name, "x" * 128): 1}
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_an_error_whose_class_will_not_say_its_name_has_it_all_the_same(self, recorder):
        class Silent(type):
            @property
            def __name__(cls) -> str:  # type: ignore[override]
                raise RuntimeError("no name")

        record_error(Silent("Hidden", (Exception,), {})())
        assert recorder.value("errors_total", error_type="Hidden") == 1

    def test_errors_past_the_limit_of_series_are_other(self):
        with replaced(MemoryRecorder()):
            recorder = configure(MemoryRecorder(), max_series=2)
            for number in range(4):
                record_error(f"error {number}", "checkout")
        assert recorder.value("errors_total") == 4
        assert recorder.value("errors_total", error_type="other", component="other") == 2

    def test_an_error_at_a_backend_that_fails_raises_nothing(self):
        recorder = BrokenLater()
        record_error("timeout", recorder=recorder)
        assert "errors_total" not in recorder.snapshot()

    def test_nothing_is_there_before_the_first(self):
        registry = CollectorRegistry()
        with replaced(MemoryRecorder()):
            configure(PrometheusRecorder(registry))
            theirs = Counter("errors", "Of the program.", registry=registry)  # whose name it is
        theirs.inc()
        assert registry.get_sample_value("errors_total") == 1


class TestANameThatTheProgramHas:
    SENTENCE = (
        "could not fully record record_error: errors_total is already on this Prometheus registry, "
        "from something other than agentmetrics: unregister it or set AGENTMETRICS_NAMESPACE"
    )

    @pytest.fixture
    def registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        Counter("errors", "Of the program.", registry=registry)
        return registry

    def test_a_name_that_is_taken_is_logged_once_with_what_to_set(self, registry, caplog):
        recorder = PrometheusRecorder(registry)
        for number in range(3):
            record_error(f"error {number}", recorder=recorder)
        assert [record.getMessage() for record in caplog.records] == [self.SENTENCE]
        assert recorder.value("agentmetrics_handler_errors_total", event="record_error") == 3
        assert registry.get_sample_value("errors_total") == 0

    def test_a_name_that_is_taken_is_asked_for_once(self, registry, monkeypatch):
        """Asking takes all metrics off the registry for a moment, and a scrape may come."""
        recorder = PrometheusRecorder(registry)
        record_error("timeout", recorder=recorder)
        monkeypatch.delattr(registry.__class__, "unregister")
        record_error("timeout", recorder=recorder)
        assert recorder.value("agentmetrics_handler_errors_total", event="record_error") == 2

    def test_a_namespace_is_the_way_out(self, registry, caplog):
        record_error("timeout", "checkout", recorder=Namespace(PrometheusRecorder(registry), "a"))
        labels = {"error_type": "timeout", "component": "checkout"}
        assert registry.get_sample_value("a_errors_total", labels) == 1
        assert caplog.records == []

    def test_a_metric_of_ones_own_on_the_recorder_is_logged_with_its_labels(self, caplog):
        recorder = MemoryRecorder()
        recorder.counter(Metric("errors_total", "counter", "Own.", ("kind",))).labels("a").inc()
        record_error("timeout", recorder=recorder)
        (record,) = caplog.records
        assert "errors_total is already a counter with labels ['kind']" in record.getMessage()
        assert recorder.value("errors_total", kind="a") == 1

    def test_a_common_label_of_the_same_name_is_that_of_the_other_metrics(self, caplog):
        memory = MemoryRecorder()
        recorder = CommonLabels(memory, {"component": "api", "env": "prod"})
        record_error("timeout", "checkout", recorder=recorder)
        labels = {"error_type": "timeout", "component": "checkout"}
        assert recorder.value("errors_total", **labels) == 1
        assert memory.collect() != recorder.collect()
        ours = {**labels, "env": "prod"}
        assert [s.labels for s in memory.samples() if s.name == "errors_total"] == [ours]
        assert caplog.records == []


class TestAboutTheService:
    def service(self, recorder: Recorder) -> list[dict[str, str]]:
        named = [s for s in recorder.samples() if s.name == "service_info"]
        assert all(sample.value == 1 for sample in named)
        return [sample.labels for sample in named]

    @pytest.fixture(autouse=True)
    def in_use(self) -> Any:
        with replaced(MemoryRecorder()):
            yield

    def test_it_is_shown_where_it_has_a_name(self):
        recorder = configure(service="shop", service_version="1.2")
        assert self.service(recorder) == [
            {"version": "1.2", "service": "shop", "backend": "memory"}
        ]

    def test_it_is_shown_where_it_has_a_version_alone(self, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_SERVICE_VERSION", "1.2")
        assert [labels["version"] for labels in self.service(configure())] == ["1.2"]

    def test_it_is_not_shown_where_it_has_neither(self):
        assert self.service(configure()) == []

    def test_common_labels_of_the_same_names_are_those_of_the_other_metrics(self):
        common = {"env": "prod", "service": "all", "version": "7"}
        recorder = configure(common_labels=common, service="shop", service_version="1.2")
        own = {"version": "1.2", "service": "shop", "backend": "memory"}
        assert self.service(recorder) == [own]
        assert self.service(recorder.inner[0]) == [{**own, "env": "prod"}]
        assert recorder.value("agentmetrics_build_info", version=version("llm-agentmetrics")) == 1

    def test_it_names_every_backend(self):
        recorder = configure(backend="noop,memory", service="shop")
        assert self.service(recorder)[0]["backend"] == "noop,memory"

    def test_every_recorder_of_a_fanout_has_it(self):
        inner = [MemoryRecorder(), MemoryRecorder()]
        configure(FanoutRecorder(inner), service="shop")
        assert [self.service(recorder)[0]["backend"] for recorder in inner] == [
            "FanoutRecorder",
            "FanoutRecorder",
        ]

    def test_a_recorder_that_is_configured_anew_has_the_new_one_alone(self):
        recorder = MemoryRecorder()
        for number in ("1", "2"):
            configure(recorder, service="shop", service_version=number)
        assert [labels["version"] for labels in self.service(recorder)] == ["2"]

    def test_its_name_that_the_program_has_is_a_configuration_error(self):
        registry = CollectorRegistry()
        Gauge("service_info", "Of the program.", registry=registry)
        with pytest.raises(ConfigurationError, match=r"^AGENTMETRICS_SERVICE='shop': service_info"):
            configure(PrometheusRecorder(registry), service="shop")

    def test_the_version_of_agentmetrics_is_shown_in_every_recorder(self):
        labels = {"version": version("llm-agentmetrics")}
        recorder = MemoryRecorder()
        configure(recorder)
        assert recorder.value("agentmetrics_build_info", **labels) == 1
