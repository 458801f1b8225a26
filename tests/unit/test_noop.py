"""The backend that forgets: everything can be done with it, and nothing is kept."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from agentmetrics import Metric, NoopRecorder, Usage, track_call
from agentmetrics.calls.facts import LLMCall
from agentmetrics.pipeline import pipeline_of

LABELS = ("agent",)
CALLS = Metric("calls_total", "counter", "Calls.", LABELS)
DEPTH = Metric("depth", "gauge", "Depth.", LABELS)
SECONDS = Metric("call_seconds", "histogram", "Seconds.", LABELS, buckets=(1.0, 2.0))


def test_every_update_is_taken_and_forgotten() -> None:
    recorder = NoopRecorder()
    with recorder.update(), recorder.update():
        recorder.counter(CALLS).labels("planner").inc()
        recorder.gauge(DEPTH).labels("planner").set(1)
        recorder.gauge(DEPTH).labels("planner").inc()
        recorder.gauge(DEPTH).labels("planner").dec()
        recorder.histogram(SECONDS).labels("planner").observe(0.5)
    recorder.flush()
    recorder.reset()
    recorder.close()
    with pytest.raises(NotImplementedError, match="NoopRecorder keeps no values"):
        recorder.value("calls_total", agent="planner")


def test_an_observed_gauge_is_never_read() -> None:
    recorder, read = NoopRecorder(), Mock(return_value=1.0)
    recorder.observe_gauge(DEPTH, read)
    recorder.flush()
    read.assert_not_called()


def test_mistakes_show_as_with_any_other_backend() -> None:
    recorder = NoopRecorder()
    recorder.counter(CALLS)
    with pytest.raises(ValueError, match="counter"):
        recorder.gauge(Metric("calls_total", "gauge", "Not calls.", LABELS))
    with pytest.raises(ValueError, match="takes 1 label"):
        recorder.counter(CALLS).labels("planner", "success")


def test_a_call_runs_as_without_metrics(caplog: pytest.LogCaptureFixture) -> None:
    recorder, ended = NoopRecorder(), list[LLMCall]()
    pipeline_of(recorder).subscribe(ended.append)
    with track_call("openai", "gpt-4o-mini", recorder=recorder) as call:
        call.record_usage(input_tokens=10, output_tokens=5)
    assert [(each.status, each.usage) for each in ended] == [("success", Usage(10, 5))]
    assert caplog.messages == []
