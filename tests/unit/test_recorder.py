"""What a metric may be, what a label value becomes, and what a recorder gives for them."""

from __future__ import annotations

import enum
import threading

import pytest

from agentmetrics import Counter, Gauge, Histogram, MemoryRecorder, Metric, NoopRecorder
from agentmetrics.pipeline import pipeline_of
from agentmetrics.recording.metric import clean_label


class TestMetric:
    def test_a_metric_takes_every_name_that_prometheus_takes(self):
        for name in ("a", "_a", "llm_calls_total", "A9"):
            assert Metric(name, "counter", "").name == name

    @pytest.mark.parametrize("name", ["", "9a", "a-b", "a.b", "a b", "é", "a\n", "a:b"])
    def test_a_metric_refuses_an_illegal_name(self, name):
        with pytest.raises(ValueError, match="not a valid metric name"):
            Metric(name, "counter", "")

    def test_a_metric_refuses_an_unknown_kind(self):
        with pytest.raises(ValueError, match="'summary' is not a kind: use counter, gauge"):
            Metric("a", "summary", "")  # type: ignore[arg-type]

    @pytest.mark.parametrize("label", ["", "9a", "a-b", "__a", "le", "quantile", "a:b", "a\n"])
    def test_a_metric_refuses_an_illegal_label(self, label):
        with pytest.raises(ValueError, match="not a valid label name"):
            Metric("a", "counter", "", (label,))

    def test_refuses_a_label_named_twice(self):
        with pytest.raises(ValueError, match="lists a label twice"):
            Metric("a", "counter", "", ("x", "x"))

    @pytest.mark.parametrize(
        "buckets", [(), (2.0, 1.0), (1.0, 1.0), (1.0, float("inf")), (float("nan"),)]
    )
    def test_a_metric_refuses_buckets_that_are_not_rising_finite_numbers(self, buckets):
        with pytest.raises(ValueError, match="finite numbers in increasing order"):
            Metric("a", "histogram", "", (), "", buckets)

    def test_a_metric_gets_further_labels_last(self):
        metric = Metric("a", "counter", "", ("x",))
        assert metric.with_labels(("y", "z")).labels == ("x", "y", "z")
        assert metric.with_labels(()) is metric


class Provider(str, enum.Enum):  # as programs for Python 3.10 write it
    OPENAI = "openai"


class Unwritable(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError


class TestALabelValue:
    @pytest.mark.parametrize(
        ("given", "becomes"),
        [
            ("gpt-4o", "gpt-4o"),
            ("Überprüfer 検査", "Überprüfer 検査"),
            ("a\u00a0b", "a\u00a0b"),
            ("", ""),
            (None, ""),
            (3, "3"),
            (0.5, "0.5"),
            (True, "True"),
            ("a\nb\r\x00", "a_b__"),
            ("a\u2028b\u0085", "a_b_"),
            ("\ud800", "_"),
            ("x" * 129, "x" * 128),
            (object(), "invalid"),
            (b"a", "invalid"),
            (10**5000, "invalid"),
        ],
        ids=lambda value: ascii(value)[:20] if isinstance(value, str) else type(value).__name__,
    )
    def test_a_label_value_becomes_text_that_every_wire_format_carries(self, given, becomes):
        assert clean_label(given) == becomes

    def test_a_label_value_is_the_value_of_an_enum_member_and_not_its_name(self):
        assert clean_label(Provider.OPENAI) == "openai"

    def test_a_label_value_is_the_text_of_a_str_whatever_its_class_does(self):
        assert clean_label(Unwritable("openai")) == "openai"


class TestARecorder:
    def test_a_recorder_gives_instruments_of_the_public_classes(self):
        recorder = MemoryRecorder()
        assert type(recorder.counter(Metric("a", "counter", ""))) is Counter
        assert type(recorder.gauge(Metric("b", "gauge", ""))) is Gauge
        assert type(recorder.histogram(Metric("c", "histogram", "", buckets=(1.0,)))) is Histogram

    def test_a_recorder_says_both_when_one_name_is_two_metrics(self):
        recorder = MemoryRecorder()
        recorder.counter(Metric("jobs", "counter", "", ("queue",)))
        with pytest.raises(
            ValueError,
            match=r"jobs is already a counter with labels \['queue'\]; "
            r"requested as a gauge with labels \[\]",
        ):
            recorder.gauge(Metric("jobs", "gauge", ""))

    def test_a_recorder_takes_a_metric_again_whose_help_was_rewritten(self):
        recorder = MemoryRecorder()
        first = recorder.counter(Metric("jobs", "counter", "Jobs."))
        assert recorder.counter(Metric("jobs", "counter", "Finished jobs.")) is first

    def test_a_recorder_refuses_a_counter_as_an_observed_gauge(self):
        with pytest.raises(ValueError, match="jobs is a counter, requested as a gauge"):
            MemoryRecorder().observe_gauge(Metric("jobs", "counter", ""), lambda: 1.0)

    def test_a_recorder_has_one_pipeline_however_many_threads_ask(self):
        recorder, got = MemoryRecorder(), []
        together = threading.Barrier(8)

        def ask():
            together.wait(10)
            got.append(pipeline_of(recorder))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 8
        assert len(set(map(id, got))) == 1


class TestTheNoopRecorder:
    def test_the_noop_recorder_takes_everything_and_keeps_nothing(self):
        recorder = NoopRecorder()
        recorder.gauge(Metric("b", "gauge", "")).labels().dec()
        recorder.observe_gauge(Metric("c", "gauge", ""), lambda: 1 / 0)
        with recorder.update(), recorder.update():
            recorder.counter(Metric("a", "counter", "")).labels().inc(-1)
        recorder.flush()
        recorder.reset()
        recorder.close()
        for name in "ac":
            with pytest.raises(NotImplementedError, match="NoopRecorder keeps no values"):
                recorder.value(name)
