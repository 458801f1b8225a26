"""Routing as the program tells it: selections, the time a choice took, savings."""

from __future__ import annotations

import math
from decimal import Decimal
from time import perf_counter

import anyio
import pytest

import agentmetrics
from agentmetrics import (
    MemoryRecorder,
    record_cost_savings,
    record_model_selection,
    routing,
)
from agentmetrics.meters.routing import RoutingMeter
from agentmetrics.pipeline import Options, pipeline_of
from tests.unit.scripted import by, errors


class Clock:
    """Stands for ``perf_counter``: each reading is so many seconds after the one before."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class TestASelection:
    def test_a_selection_is_counted_by_intent_model_and_tier(self, recorder):
        record_model_selection("summary", "gpt-4o", "large")
        record_model_selection("summary", "gpt-4o", "large")
        record_model_selection("", "gpt-4o-mini")
        assert by(recorder, "model_selections_total", "intent", "model", "tier") == {
            ("summary", "gpt-4o", "large"): 2,
            ("", "gpt-4o-mini", ""): 1,
        }

    def test_a_selection_goes_to_the_recorder_that_is_given(self, recorder):
        other = MemoryRecorder()
        record_model_selection("", "gpt-4o", recorder=other)
        assert other.value("model_selections_total") == 1
        assert recorder.value("model_selections_total") == 0

    def test_a_selection_has_clean_labels(self, recorder):
        record_model_selection("a" * 500, "gpt\n4o", object())  # type: ignore[arg-type]
        assert by(recorder, "model_selections_total", "model", "tier") == {("gpt_4o", "invalid"): 1}

    def test_a_selection_follows_the_cardinality_limit(self, recorder):
        pipeline_of(recorder, Options(max_series=2))
        for number in range(5):
            record_model_selection("", f"model-{number}")
        assert recorder.value("model_selections_total") == 5
        assert recorder.value("model_selections_total", model="other") == 3

    def test_a_selection_that_a_backend_refuses_raises_nothing(self, recorder, monkeypatch):
        def broken(self, *labels):
            raise OSError

        monkeypatch.setattr(RoutingMeter, "selected", broken)
        record_model_selection("", "gpt-4o")
        assert errors(recorder) == {"record_model_selection": 1}


class TestSavings:
    @pytest.mark.parametrize("usd", [0.25, 0, 2, Decimal("0.5")])
    def test_savings_add_up_by_intent(self, recorder, usd):
        record_cost_savings("summary", usd)
        record_cost_savings("summary", 0.5)
        assert recorder.value("model_cost_savings_usd_total", intent="summary") == float(usd) + 0.5
        assert errors(recorder) == {}

    @pytest.mark.parametrize("usd", [-0.01, math.nan, math.inf, None, "much", [1.0], 10**400])
    def test_savings_that_cannot_be_are_not_added_and_raise_nothing(self, recorder, usd):
        record_cost_savings("summary", usd)
        assert recorder.value("model_cost_savings_usd_total") == 0
        assert errors(recorder) == {"record_cost_savings": 1}


class TestAChoice:
    def test_a_choice_is_timed_by_intent(self, recorder, monkeypatch):
        monkeypatch.setattr("agentmetrics.sources.routing.perf_counter", Clock(0.002))
        with routing(intent="summary"):
            pass
        timed = recorder.histogram("model_routing_duration_seconds", intent="summary")
        assert timed.count == 1
        assert timed.sum == pytest.approx(0.002)

    @pytest.mark.anyio
    async def test_a_choice_is_timed_the_same_on_an_event_loop(self, recorder):
        before = perf_counter()
        async with routing(intent="summary") as choice:
            await anyio.sleep(0.01)
            choice.select("gpt-4o", tier="large")
        timed = recorder.histogram("model_routing_duration_seconds", intent="summary")
        assert timed.count == 1
        assert 0.009 < timed.sum <= perf_counter() - before
        assert by(recorder, "model_selections_total", "intent", "model", "tier") == {
            ("summary", "gpt-4o", "large"): 1
        }

    def test_a_choice_counts_what_was_selected(self, recorder):
        with agentmetrics.routing("summary") as choice:
            choice.select("gpt-4o-mini")
        assert by(recorder, "model_selections_total", "intent", "model", "tier") == {
            ("summary", "gpt-4o-mini", ""): 1
        }

    def test_a_choice_that_ends_in_an_error_is_timed_and_the_error_goes_on(self, recorder):
        with pytest.raises(LookupError), routing(intent="summary"):
            raise LookupError
        assert recorder.histogram("model_routing_duration_seconds").count == 1
        assert recorder.value("model_selections_total") == 0

    def test_a_choice_goes_whole_to_the_recorder_that_is_given(self, recorder):
        other = MemoryRecorder()
        with routing(recorder=other) as choice:
            choice.select("gpt-4o")
        assert other.histogram("model_routing_duration_seconds").count == 1
        assert other.value("model_selections_total") == 1
        assert recorder.value("model_selections_total") == 0

    def test_a_choice_that_a_backend_refuses_raises_nothing(self, recorder, monkeypatch):
        def broken(self, *arguments):
            raise OSError

        monkeypatch.setattr(RoutingMeter, "routed", broken)
        with routing(intent="summary"):
            pass
        assert errors(recorder) == {"routing": 1}

    def test_a_choice_is_fine_enough_in_its_buckets_for_a_dictionary_and_for_a_model(
        self, recorder
    ):
        meter = pipeline_of(recorder).routing
        for seconds in (2e-5, 2e-3, 0.5):
            meter.routed("", seconds)
        timed = recorder.histogram("model_routing_duration_seconds")
        assert [bound for bound, n in zip(timed.bounds, timed.counts, strict=False) if n] == [
            3e-5,
            3e-3,
            1.0,
        ]
