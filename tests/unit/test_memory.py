"""MemoryRecorder, as a test or a notebook reads it."""

from __future__ import annotations

import json
import math

import pytest

from agentmetrics import MemoryRecorder, Metric
from agentmetrics.errors import UnknownMetricError
from agentmetrics.recording.values import Sample

JOBS = Metric("jobs_total", "counter", "Jobs.", ("queue", "status"))
DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))
SECONDS = Metric("seconds", "histogram", "Durations.", ("queue",), "seconds", (1.0, 2.5))


@pytest.fixture
def recorder() -> MemoryRecorder:
    """One that has a counter, a gauge and a histogram of two queues."""
    recorder = MemoryRecorder()
    jobs = recorder.counter(JOBS)
    jobs.labels("a", "ok").inc(1)
    jobs.labels("a", "failed").inc(2)
    jobs.labels("b", "ok").inc(4)
    recorder.gauge(DEPTH).labels("a").set(3)
    seconds = recorder.histogram(SECONDS)
    seconds.labels("a").observe(0.5)
    seconds.labels("a").observe(2)
    seconds.labels("b").observe(9)
    return recorder


class TestValue:
    def test_value_sums_the_series_with_the_labels(self, recorder):
        assert recorder.value("jobs_total") == 7
        assert recorder.value("jobs_total", queue="a") == 3
        assert recorder.value("jobs_total", status="ok") == 5
        assert recorder.value("jobs_total", status="ok", queue="a") == 1
        assert recorder.value("depth", queue="a") == 3

    def test_value_is_zero_where_nothing_was_recorded(self, recorder):
        assert recorder.value("jobs_total", queue="c") == 0
        assert recorder.value("llm_calls_total", status="error") == 0
        assert MemoryRecorder().value("llm_calls_total", agent_name="planner") == 0

    @pytest.mark.parametrize(
        ("name", "labels", "said"),
        [
            ("unheard_of", {}, "there is no metric 'unheard_of'"),
            ("llm_calls_totl", {}, "'llm_calls_totl'; did you mean 'llm_calls_total'"),
            ("job_total", {}, "'job_total'; did you mean 'jobs_total' or "),
            ("jobs_total", {"model": "x"}, "jobs_total has no label 'model': it has queue, status"),
            ("llm_calls_total", {"agent": "x"}, "llm_calls_total has no label 'agent': it has "),
            ("llm_calls_total", {"status": "sucess"}, "'sucess'; did you mean 'success'?"),
            ("llm_tokens_total", {"token_type": "total"}, "'total': use one of input, output"),
            ("llm_memory_available_mb", {"agent_name": "x"}, "no label 'agent_name': it has none"),
        ],
    )
    def test_value_of_what_does_not_exist_names_what_may_be_meant(
        self, recorder, name, labels, said
    ):
        for empty_or_not in (MemoryRecorder(), recorder):
            if not name.startswith("job") or empty_or_not is recorder:
                with pytest.raises(UnknownMetricError) as raised:
                    empty_or_not.value(name, **labels)
                assert said in str(raised.value)
                assert isinstance(raised.value, KeyError)
                assert isinstance(raised.value, ValueError)

    def test_value_points_at_histogram_when_the_metric_is_one(self, recorder):
        with pytest.raises(ValueError, match=r"read it with histogram\('seconds'\)"):
            recorder.value("seconds")


class TestHistogram:
    def test_histogram_gives_count_sum_buckets_and_quantiles(self, recorder):
        found = recorder.histogram("seconds", queue="a")
        assert (found.count, found.sum) == (2, 2.5)
        assert found.buckets == {1.0: 1, 2.5: 2, math.inf: 2}
        assert found.quantile(0.5) == 1.0

    def test_histogram_adds_up_the_series_with_the_labels(self, recorder):
        assert recorder.histogram("seconds").count == 3
        assert recorder.histogram("seconds").sum == 11.5

    def test_histogram_is_empty_where_no_series_has_the_labels(self, recorder):
        assert recorder.histogram("seconds", queue="c").count == 0

    def test_histogram_refuses_a_name_that_is_no_histogram(self, recorder):
        for name in ("jobs_total", "unheard_of"):
            with pytest.raises(KeyError, match=name):
                recorder.histogram(name)

    def test_histogram_gives_the_instrument_for_a_metric(self, recorder):
        assert recorder.histogram(SECONDS).metric is SECONDS


class TestSamples:
    def test_samples_are_lines_of_an_exposition(self, recorder):
        found = list(recorder.samples())
        assert Sample("jobs_total", {"queue": "a", "status": "failed"}, 2) in found
        assert [s for s in found if s.labels.get("queue") == "b" and "seconds" in s.name] == [
            Sample("seconds_bucket", {"queue": "b", "le": "1.0"}, 0),
            Sample("seconds_bucket", {"queue": "b", "le": "2.5"}, 0),
            Sample("seconds_bucket", {"queue": "b", "le": "+Inf"}, 1),
            Sample("seconds_sum", {"queue": "b"}, 9),
            Sample("seconds_count", {"queue": "b"}, 1),
        ]


class TestSnapshot:
    def test_a_snapshot_is_plain_data(self, recorder):
        snapshot = recorder.snapshot()
        assert json.loads(json.dumps(snapshot)) == snapshot
        assert snapshot["depth"] == {
            "kind": "gauge",
            "help": "Depth.",
            "series": [{"labels": {"queue": "a"}, "value": 3.0}],
        }
        assert snapshot["seconds"]["series"][1] == {
            "labels": {"queue": "b"},
            "count": 1,
            "sum": 9.0,
            "buckets": {"1.0": 0, "2.5": 0, "+Inf": 1},
        }

    def test_a_snapshot_does_not_change_afterwards(self, recorder):
        snapshot = recorder.snapshot()
        recorder.gauge(DEPTH).labels("a").set(99)
        assert snapshot["depth"]["series"][0]["value"] == 3
