"""The provider's own account of how long a call took."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentmetrics.sources.langchain.callbacks.latency import api_seconds, header_seconds

WRONG: list[Any] = [None, "text", "", -1.0, math.nan, math.inf, [1], {}, 1e9]


class TestOpenAIsHeader:
    @pytest.mark.parametrize("value", ["512", "512.0", 512])
    def test_openais_header_is_in_milliseconds(self, value):
        assert header_seconds({"openai-processing-ms": value}) == pytest.approx(0.512)

    def test_openais_header_that_is_not_there_says_nothing(self):
        assert header_seconds({"x-request-id": "req_1"}) == 0.0

    @pytest.mark.parametrize("value", [*WRONG, "nan", "-5", "inf", "1e300"])
    def test_openais_header_that_cannot_be_a_duration_says_nothing(self, value):
        assert header_seconds({"openai-processing-ms": value}) == 0.0

    @pytest.mark.parametrize("headers", [None, "text", 7, [("openai-processing-ms", "1")]])
    def test_openais_header_may_be_in_headers_of_any_shape(self, headers):
        assert header_seconds(headers) == 0.0


class TestGroqsDurations:
    @pytest.mark.parametrize("there", ["served", "llm_output"])
    def test_groqs_durations_are_the_time_in_the_queue_and_at_work(self, there):
        output = {"token_usage": {"queue_time": 0.25, "total_time": 1.5}}
        found = api_seconds(output, {}) if there == "served" else api_seconds({}, output)
        assert found == pytest.approx(1.75)

    def test_groqs_durations_may_say_nothing_of_a_queue(self):
        assert api_seconds({}, {"token_usage": {"total_time": 1.5}}) == 1.5

    @pytest.mark.parametrize("wrong", WRONG)
    def test_groqs_durations_that_cannot_be_say_nothing(self, wrong):
        usage = {"queue_time": 0.25, "total_time": wrong}
        assert api_seconds({}, {"token_usage": usage}) == 0.0
        usage = {"queue_time": wrong, "total_time": 1.5}
        assert api_seconds({}, {"token_usage": usage}) == 1.5

    @pytest.mark.parametrize("usage", [None, "text", 7, [], {}])
    def test_groqs_durations_may_be_missing(self, usage):
        assert api_seconds({"token_usage": usage}, {"token_usage": usage}) == 0.0


class TestOllamasDurations:
    def test_ollamas_durations_are_in_nanoseconds_and_include_loading_the_model(self):
        served = {"total_duration": 4_648_158_584, "load_duration": 4_071_084}
        assert api_seconds(served, {}) == pytest.approx(4.648158584)

    @pytest.mark.parametrize("wrong", [value for value in WRONG if value != 1e9] + [1e30])
    def test_ollamas_durations_that_cannot_be_say_nothing(self, wrong):
        assert api_seconds({"total_duration": wrong}, {}) == 0.0


class TestBedrocksMetrics:
    @pytest.mark.parametrize(
        "served",
        [
            {"metrics": {"latencyMs": 551}},
            {"metrics": {"latencyMs": [551]}},
            {"amazon-bedrock-invocationMetrics": {"invocationLatency": 551}},
        ],
        ids=["a stream of Converse", "Converse", "a stream of InvokeModel"],
    )
    def test_bedrocks_metrics_are_in_milliseconds(self, served):
        assert api_seconds(served, {}) == pytest.approx(0.551)

    @pytest.mark.parametrize("wrong", [*(w for w in WRONG if w != [1]), [], [None], ["1"], [[1]]])
    def test_bedrocks_metrics_that_cannot_be_say_nothing(self, wrong):
        assert api_seconds({"metrics": wrong}, {}) == 0.0
        assert api_seconds({"metrics": {"latencyMs": wrong}}, {}) == 0.0
        metrics = {"amazon-bedrock-invocationMetrics": wrong}
        assert api_seconds(metrics, {}) == 0.0
        metrics = {"amazon-bedrock-invocationMetrics": {"invocationLatency": wrong}}
        assert api_seconds(metrics, {}) == 0.0
