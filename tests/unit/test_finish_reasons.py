"""Why calls ended: each provider's own word, in a closed set."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics import track_call
from agentmetrics.catalog import FINISH_REASONS
from agentmetrics.providers.finish_reasons import finish_reason_of, meaning_of
from tests.unit.scripted import Chat, StreamingChat, answer, by

RESPONSES: dict[str, tuple[Any, str]] = {
    "OpenAI": ({"choices": [{"finish_reason": "stop"}]}, "stop"),
    "OpenAI, at its limit": ({"choices": [{"finish_reason": "length"}]}, "length"),
    "OpenAI, a tool": ({"choices": [{"finish_reason": "tool_calls"}]}, "tool_calls"),
    "OpenAI, a function": ({"choices": [{"finish_reason": "function_call"}]}, "tool_calls"),
    "OpenAI, filtered": ({"choices": [{"finish_reason": "content_filter"}]}, "content_filter"),
    "OpenAI, a refusal": (
        {"choices": [{"finish_reason": "stop", "message": {"refusal": "I cannot"}}]},
        "refusal",
    ),
    "OpenAI, several choices": (
        {"choices": [{"finish_reason": "length"}, {"finish_reason": "stop"}]},
        "length",
    ),
    "Responses": ({"status": "completed", "incomplete_details": None, "output": []}, "stop"),
    "Responses, at its limit": (
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        "length",
    ),
    "Responses, a tool": (
        {"status": "completed", "output": [{"type": "function_call", "name": "search"}]},
        "tool_calls",
    ),
    "Responses, a refusal": (
        {
            "status": "completed",
            "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}],
        },
        "refusal",
    ),
    "Anthropic": ({"stop_reason": "end_turn"}, "stop"),
    "Anthropic, a stop sequence": ({"stop_reason": "stop_sequence"}, "stop"),
    "Anthropic, at its limit": ({"stop_reason": "max_tokens"}, "length"),
    "Anthropic, a tool": ({"stop_reason": "tool_use"}, "tool_calls"),
    "Anthropic, a refusal": ({"stop_reason": "refusal"}, "refusal"),
    "Anthropic, a pause": ({"stop_reason": "pause_turn"}, "other"),
    "Gemini": ({"candidates": [{"finishReason": "STOP"}]}, "stop"),
    "Gemini's SDK": (
        SimpleNamespace(
            candidates=[SimpleNamespace(finish_reason=SimpleNamespace(name="MAX_TOKENS"))]
        ),
        "length",
    ),
    "Gemini, unsafe": ({"candidates": [{"finishReason": "PROHIBITED_CONTENT"}]}, "content_filter"),
    "Gemini, a tool": (
        {
            "candidates": [
                {"finishReason": "STOP", "content": {"parts": [{"functionCall": {"name": "x"}}]}}
            ]
        },
        "tool_calls",
    ),
    "Bedrock": ({"stopReason": "end_turn"}, "stop"),
    "Bedrock, a guardrail": ({"stopReason": "guardrail_intervened"}, "content_filter"),
    "Cohere": ({"finish_reason": "COMPLETE"}, "stop"),
    "Cohere, at its limit": ({"finish_reason": "MAX_TOKENS"}, "length"),
    "Mistral, at its limit": ({"choices": [{"finish_reason": "model_length"}]}, "length"),
    "Ollama": ({"done_reason": "stop"}, "stop"),
    "Ollama, a tool": ({"done_reason": "stop", "message": {"tool_calls": [{}]}}, "tool_calls"),
    "nobody's": ({"answer": 42}, ""),
}


@pytest.mark.parametrize(("response", "reason"), RESPONSES.values(), ids=RESPONSES.keys())
def test_a_response_says_why_the_model_stopped(response: Any, reason: str) -> None:
    assert finish_reason_of(response) == reason


@given(st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_whatever_a_provider_says_is_in_the_closed_set_or_nothing(word: object) -> None:
    assert meaning_of(word) in (*FINISH_REASONS, "")


@pytest.mark.parametrize(("word", "times"), [("stop", 2), ("length", 3), ("STOP", 2)])
def test_the_joined_words_of_several_streamed_choices_are_one(word: str, times: int) -> None:
    assert meaning_of(word * times) == meaning_of(word)


class TestACall:
    def test_a_call_counts_why_it_ended(self, recorder, config):
        message = answer(model="gpt-4o-2024-08-06")
        message.response_metadata["finish_reason"] = "length"
        Chat(answers=[message]).invoke("x", config)
        labels = {"provider": "openai", "model": "gpt-4o", "finish_reason": "length"}
        assert recorder.value("llm_finish_reasons_total", **labels) == 1

    def test_a_call_that_stops_to_use_a_tool_ended_for_that(self, recorder, config):
        message = answer()
        message.response_metadata["finish_reason"] = "STOP"
        message.tool_calls = [{"name": "search", "args": {}, "id": "1"}]
        Chat(answers=[message]).invoke("x", config)
        assert by(recorder, "llm_finish_reasons_total", "finish_reason") == {"tool_calls": 1}

    def test_a_call_that_says_nothing_of_why_it_ended_counts_nothing(self, recorder, config):
        Chat().invoke("x", config)
        assert by(recorder, "llm_finish_reasons_total", "finish_reason") == {}

    def test_a_call_without_usage_counts_why_it_ended_too(self, recorder, config):
        message = answer(tokens=None)
        message.response_metadata["finish_reason"] = "stop"
        Chat(answers=[message]).invoke("x", config)
        assert by(recorder, "llm_finish_reasons_total", "finish_reason") == {"stop": 1}

    def test_a_tracked_call_counts_why_its_response_ended(self, recorder):
        with track_call("anthropic", "claude-sonnet-4-5") as call:
            call.record_response({"stop_reason": "max_tokens", "usage": {"input_tokens": 1}})
        assert by(recorder, "llm_finish_reasons_total", "finish_reason") == {"length": 1}

    def test_a_call_that_failed_did_not_end_for_a_reason_of_the_models(self, recorder):
        with suppress(ZeroDivisionError), track_call("anthropic", "claude-sonnet-4-5") as call:
            call.record_response({"stop_reason": "end_turn"})
            raise ZeroDivisionError
        assert by(recorder, "llm_finish_reasons_total", "finish_reason") == {}

    def test_a_streamed_call_counts_why_it_ended(self, recorder, config):
        message = answer("abc")
        message.response_metadata["finish_reason"] = "stop"
        list(StreamingChat(answers=[message]).stream("x", config))
        assert by(recorder, "llm_finish_reasons_total", "finish_reason") == {"stop": 1}
