"""The service tier that a response names, and what it makes of a call's price."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from anthropic.types import Message
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from openai.types.chat import ChatCompletion

from agentmetrics import MemoryRecorder, MetricsCallbackHandler, track_call
from agentmetrics.providers.service_tier import service_tier_of
from tests.unit.scripted import Chat, answer, by

TOKENS = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}


def openai_response(tier: str | None, model: str = "gpt-5-2025-08-07") -> ChatCompletion:
    return ChatCompletion.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": model,
            "choices": [],
            "service_tier": tier,
            "usage": TOKENS,
        }
    )


def anthropic_response(**usage: str) -> Message:
    return Message.model_validate(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-opus-4-6",
            "content": [],
            "usage": {"input_tokens": 1_000_000, "output_tokens": 0, **usage},
        }
    )


class TestTheTier:
    @pytest.mark.parametrize(
        ("response", "tier"),
        [
            (openai_response("flex"), "flex"),
            (openai_response("priority"), "priority"),
            (openai_response("default"), ""),
            (openai_response(None), ""),
            (anthropic_response(service_tier="priority"), "priority"),
            (anthropic_response(service_tier="batch"), "batch"),
            (anthropic_response(service_tier="standard"), ""),
            (anthropic_response(service_tier="standard", speed="fast"), "fast"),
            (anthropic_response(service_tier="standard", inference_geo="us"), "us"),
            (anthropic_response(service_tier="standard", inference_geo="global"), ""),
            (anthropic_response(service_tier="batch", inference_geo="us"), "batch+us"),
            ({"serviceTier": {"type": "flex"}}, "flex"),  # Bedrock Converse
            ({"serviceTier": {"type": "default"}}, ""),
            ({"serviceTier": "priority"}, "priority"),
            ({"service_tier": "on_demand"}, ""),  # Groq
            ({"service_tier": "Flex\n"}, "flex_"),
            ({"service_tier": "flexflex"}, "flex"),  # two streamed choices, joined by LangChain
            ({"service_tier": object()}, "invalid"),
            ({"usage": {"inputTokens": 1}}, ""),
            ({"usage": SimpleNamespace(service_tier="batch")}, "batch"),
            ({}, ""),
            (None, ""),
        ],
    )
    def test_the_tier_is_what_the_provider_says_and_empty_for_the_standard_one(
        self, response, tier
    ):
        assert service_tier_of(response) == tier


def spent(recorder: MemoryRecorder) -> float:
    return recorder.value("llm_cost_usd_total")


class TestACallThroughLangChain:
    @pytest.mark.parametrize(
        ("metadata", "usd"),
        [
            ({}, 1.25),
            ({"service_tier": "default"}, 1.25),
            ({"service_tier": "flex"}, 0.625),
            ({"service_tier": "priority"}, 2.5),
        ],
    )
    def test_a_call_through_langchain_costs_what_its_tier_does(self, metadata, usd):
        recorder = MemoryRecorder()
        message = answer(tokens=(1_000_000, 0))
        message.response_metadata = {"model_name": "gpt-5-2025-08-07", **metadata}
        model = Chat(answers=[message], callbacks=[MetricsCallbackHandler(recorder)])
        for _ in range(2):
            model.invoke("x")
        assert spent(recorder) == 2 * usd

    def test_a_call_through_langchain_is_unpriced_in_a_tier_whose_price_nobody_knows(self):
        recorder = MemoryRecorder()
        message = answer(tokens=(10, 10))
        message.response_metadata = {"model_name": "gpt-5", "service_tier": "scale"}
        Chat(answers=[message], callbacks=[MetricsCallbackHandler(recorder)]).invoke("x")
        assert spent(recorder) == 0
        assert by(recorder, "llm_unpriced_calls_total", "model") == {"gpt-4o": 1}
        assert by(recorder, "llm_tokens_total", "token_type") == {"input": 10, "output": 10}

    def test_a_call_through_langchain_with_several_choices_takes_the_tier_of_the_output(self):
        recorder = MemoryRecorder()
        usage = {"input_tokens": 1_000_000, "output_tokens": 0, "total_tokens": 1_000_000}
        choices = [ChatGeneration(message=AIMessage(c, usage_metadata=usage)) for c in "ab"]
        output = {"model_name": "gpt-5", "service_tier": "flex"}
        result = ChatResult(generations=choices, llm_output=output)
        Chat(answers=[result], callbacks=[MetricsCallbackHandler(recorder)]).invoke("x")
        assert spent(recorder) == 0.625


class TestATrackedCall:
    def test_a_tracked_call_costs_what_the_tier_of_its_response_does(self):
        recorder = MemoryRecorder()
        for tier in ("default", "flex"):
            with track_call("openai", "gpt-5", recorder=recorder) as call:
                call.record_response(openai_response(tier))
        assert spent(recorder) == 1.25 + 0.625

    def test_a_tracked_call_of_anthropic_in_one_country_costs_a_tenth_more(self):
        recorder = MemoryRecorder()
        with track_call("anthropic", "claude-opus-4-6", recorder=recorder) as call:
            call.record_response(anthropic_response(inference_geo="us"))
        assert spent(recorder) == 5.5
