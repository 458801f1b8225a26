"""The backend that forgets: everything can be done with it, and nothing is kept."""

from __future__ import annotations

import pytest

from agentmetrics import Metric, NoopRecorder, track_call

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


def test_an_observed_gauge_is_never_read() -> None:
    recorder = NoopRecorder()
    recorder.observe_gauge(DEPTH, lambda: pytest.fail("somebody read it"))
    recorder.flush()


def test_mistakes_show_as_with_any_other_backend() -> None:
    recorder = NoopRecorder()
    recorder.counter(CALLS)
    with pytest.raises(ValueError, match="counter"):
        recorder.gauge(Metric("calls_total", "gauge", "Not calls.", LABELS))
    with pytest.raises(ValueError, match="takes 1 label"):
        recorder.counter(CALLS).labels("planner", "success")


def test_a_call_runs_as_without_metrics() -> None:
    with track_call("openai", "gpt-4o-mini", recorder=NoopRecorder()) as call:
        call.record_usage(input_tokens=10, output_tokens=5)
