"""The provider's total as a witness, and usage of which a part cannot be: the rest counts."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from agentmetrics import MemoryRecorder, MetricsCallbackHandler, Usage, track_call
from tests.unit.test_provider_packages import chat, ended


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


def told(recorder: MemoryRecorder, usage: Any, **response: Any) -> list[float]:
    """Input, output, priced and not understood calls of a response with this usage."""
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_response({"model": "gpt-4o", **response, "usage": usage})
    return counted(recorder)


def counted(recorder: MemoryRecorder) -> list[float]:
    assert recorder.value("llm_calls_total") == 1
    return [
        recorder.value("llm_tokens_total", token_type="input"),
        recorder.value("llm_tokens_total", token_type="output"),
        1 - recorder.value("llm_unpriced_calls_total"),
        recorder.value("agentmetrics_handler_errors_total"),
    ]


def openai(sent: Any, received: Any, total: Any = None, **details: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": sent,
        "completion_tokens": received,
        **({} if total is None else {"total_tokens": total}),
        "prompt_tokens_details": {k: v for k, v in details.items() if "cache" in k},
        "completion_tokens_details": {k: v for k, v in details.items() if "reason" in k},
    }


UNDERSTOOD = {
    "xAI's reasoning stands outside of the output": (
        openai(32, 9, 135, reasoning_tokens=94),
        Usage(32, 103, cache_read_tokens=None, reasoning_tokens=94),
    ),
    "reasoning that is a part of the output": (
        openai(32, 103, 135, reasoning_tokens=94),
        Usage(32, 103, reasoning_tokens=94),
    ),
    "a cache that stands outside of the input": (
        openai(5, 9, 94, cached_tokens=80),
        Usage(85, 9, cache_read_tokens=80),
    ),
    "both outside": (
        openai(5, 9, 97, cached_tokens=80, reasoning_tokens=3),
        Usage(85, 12, cache_read_tokens=80, reasoning_tokens=3),
    ),
    "a total of 0, which is none": (openai(5, 9, 0), Usage(5, 9)),
    "Converse's total, with the cache": (
        {"inputTokens": 5, "outputTokens": 9, "cacheReadInputTokens": 80, "totalTokens": 94},
        Usage(85, 9, cache_read_tokens=80, cache_creation_tokens=None),
    ),
    "Converse's total, without the cache": (
        {"inputTokens": 5, "outputTokens": 9, "cacheReadInputTokens": 80, "totalTokens": 14},
        Usage(85, 9, cache_read_tokens=80),
    ),
    "Gemini's own, whose total has thoughts and tool-use prompts": (
        {
            "promptTokenCount": 5,
            "toolUsePromptTokenCount": 4,
            "candidatesTokenCount": 9,
            "thoughtsTokenCount": 80,
            "totalTokenCount": 98,
        },
        Usage(9, 89, reasoning_tokens=80),
    ),
}


@pytest.mark.parametrize("what", UNDERSTOOD)
def test_a_total_tells_what_stands_outside(what: str) -> None:
    block, usage = UNDERSTOOD[what]
    found = Usage.from_response({"usage": block})
    assert found == usage
    assert found is not None
    assert found.is_bill
    assert found.doubt is None


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "google/gemini-2.5-pro", "models/gemini-3"])
def test_geminis_thoughts_are_in_the_total_alone_on_openais_wire(model: str) -> None:
    found = Usage.from_response({"model": model, "usage": openai(8, 25, 733)})
    assert found == Usage(8, 725, reasoning_tokens=700)
    assert found is not None
    assert found.is_bill


@pytest.mark.parametrize("name", ["my-gemini-2.5", "gpt-4o", ""])
def test_the_difference_of_others_is_not_understood(name: str) -> None:
    found = Usage.from_response({"model": name, "usage": openai(8, 25, 733)})
    assert found == Usage(8, 25)
    assert found is not None
    assert found.doubt is not None
    assert not found.is_bill


DOUBTFUL = {
    "a total below its parts": openai(10, 5, 7),
    "a total that nothing explains": openai(10, 5, 50),
    "a negative total": openai(10, 5, -15),
    "a total as text": openai(10, 5, "15"),
    "a total that is true": openai(10, 5, True),
    "a total of 10**400": openai(10, 5, 10**400),
    "reasoning above the output": openai(10, 5, 15, reasoning_tokens=50),
    "a cache above the input": openai(10, 5, 15, cached_tokens=11),
    "reads and writes above the input": openai(10, 5, 15, cached_tokens=8, cache_write_tokens=8),
    "a detail as text": openai(10, 5, 15, cached_tokens="8"),
    "a detail below 0": openai(10, 5, 15, reasoning_tokens=-3),
    "a detail of 10**400": openai(10, 5, 15, reasoning_tokens=10**400),
    "a detail that is a list": openai(10, 5, 15, reasoning_tokens=[3]),
    "a cache above Cohere's bill": {
        "billed_units": {"input_tokens": 10, "output_tokens": 5},
        "tokens": {"input_tokens": 500, "output_tokens": 5},
        "cached_tokens": 300,
    },
    "an hour of more than was written": {
        "input_tokens": 4,
        "output_tokens": 5,
        "cache_creation_input_tokens": 6,
        "cache_creation": {"ephemeral_1h_input_tokens": 7},
    },
    "Anthropic's cache as text, beside what is fresh": {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": "80",
    },
    "Gemini's thoughts below 0": {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": -80,
        "totalTokenCount": 15,
    },
    "Converse's cache as text": {
        "inputTokens": 10,
        "outputTokens": 5,
        "cacheReadInputTokens": "80",
        "totalTokens": 15,
    },
    "thinking of Converse as text": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 20},
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_cannot_be_costs_the_price_and_not_the_tokens(
    what: str, recorder: MemoryRecorder
) -> None:
    assert told(recorder, DOUBTFUL[what]) == [10, 5, 0, 1]
    assert recorder.value("llm_cost_usd_total") == 0


@pytest.mark.parametrize("what", DOUBTFUL)
def test_the_same_in_a_stream_is_not_understood_once(what: str, recorder: MemoryRecorder) -> None:
    chunk = {"id": "1", "choices": [], "usage": DOUBTFUL[what]}
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        list(call.record_stream(iter([chunk, chunk, chunk])))
    assert counted(recorder) == [10, 5, 0, 1]


WRONG = [-1, 1.5, float("nan"), float("inf"), "10", True, [10], {}, b"10", 10**400, object()]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__ + str(wrong)[:4])
def test_a_count_of_a_wrong_type_leaves_the_other(wrong: Any, recorder: MemoryRecorder) -> None:
    assert told(recorder, {"prompt_tokens": wrong, "completion_tokens": 5}) == [0, 5, 0, 1]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__ + str(wrong)[:4])
def test_where_no_count_can_be_the_call_counts(wrong: Any, recorder: MemoryRecorder) -> None:
    told(recorder, {"prompt_tokens": wrong, "completion_tokens": wrong})
    assert recorder.value("llm_calls_total", status="success") == 1
    assert recorder.value("llm_tokens_total") == 0
    assert recorder.value("llm_unmetered_calls_total") == 1
    assert recorder.value("agentmetrics_handler_errors_total") == 1


@pytest.mark.parametrize("usage", [7, "text", [], [1], True, 1.5, object()])
def test_usage_that_is_none_says_nothing(usage: Any, recorder: MemoryRecorder) -> None:
    told(recorder, usage)
    assert recorder.value("llm_unmetered_calls_total") == 1


def test_headers_with_a_number_of_ten_thousand_digits_are_no_count(
    recorder: MemoryRecorder,
) -> None:
    headers = {"x-amzn-bedrock-input-token-count": "9" * 10_000}
    headers["x-amzn-bedrock-output-token-count"] = "5"
    with track_call("amazon_bedrock", "m", recorder=recorder) as call:
        call.record_response({"ResponseMetadata": {"HTTPHeaders": headers}})
    assert recorder.value("llm_tokens_total") == 5
    assert recorder.value("agentmetrics_handler_errors_total") == 1


def test_objects_and_text_are_read_the_same(recorder: MemoryRecorder) -> None:
    body = {"model": "grok-4", "usage": openai(32, 9, 135, reasoning_tokens=94)}
    as_object = json.loads(json.dumps(body), object_hook=lambda found: SimpleNamespace(**found))
    for form in (body, json.dumps(body), as_object):
        with track_call("xai", "grok-4", recorder=recorder) as call:
            call.record_response(form)
    assert recorder.value("llm_tokens_total") == 3 * 135
    assert recorder.value("agentmetrics_handler_errors_total") == 0


def test_record_usage_keeps_what_can_be(recorder: MemoryRecorder) -> None:
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_usage(10, 5, cache_read_tokens=11)
    assert counted(recorder) == [10, 5, 0, 1]


class TestLangChain:
    """What packages hand on, which they made of the same."""

    @pytest.mark.parametrize("provider", ["openai", "xai"])
    def test_reasoning_outside_of_the_output(self, provider: str, recorder: MemoryRecorder) -> None:
        block: Any = {
            "input_tokens": 32,
            "output_tokens": 9,
            "total_tokens": 135,
            "output_token_details": {"reasoning": 94},
        }
        message = AIMessage("hi", usage_metadata=block)
        assert ended(recorder, provider, chat(message)) == {"input": 32, "output": 103}
        assert recorder.value("llm_token_details_total", token_detail="reasoning") == 94
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_geminis_thoughts_over_openais_wire(self, recorder: MemoryRecorder) -> None:
        message = AIMessage("hi", response_metadata={"model_name": "gemini-2.5-flash"})
        message.usage_metadata = {"input_tokens": 8, "output_tokens": 25, "total_tokens": 733}
        assert ended(recorder, "openai", chat(message)) == {"input": 8, "output": 725}
        assert recorder.value("llm_token_details_total", token_detail="reasoning") == 700

    def test_perplexitys_deep_research(self, recorder: MemoryRecorder) -> None:
        block: Any = {
            "input_tokens": 33,
            "output_tokens": 7163,
            "total_tokens": 7196,
            "output_token_details": {"reasoning": 73997, "citation_tokens": 20016},
        }
        message = AIMessage("hi", usage_metadata=block)
        assert ended(recorder, "perplexity", chat(message)) == {"input": 33, "output": 81160}
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    @pytest.mark.parametrize("chunks", [0, 3])
    @pytest.mark.parametrize("total", [7, 50, -15, "15", 10**400, [15]], ids=lambda t: str(t)[:5])
    def test_a_total_that_cannot_be_is_not_understood_once(
        self, total: Any, chunks: int, recorder: MemoryRecorder
    ) -> None:
        handler, run_id = MetricsCallbackHandler(recorder), uuid4()
        metadata = {"ls_provider": "openai", "ls_model_name": "gpt-4o"}
        handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=metadata)
        block: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": total}
        for _ in range(chunks):
            message = AIMessageChunk(content="hi")
            message.usage_metadata = block.copy()
            chunk = ChatGenerationChunk(message=message)
            handler.on_llm_new_token("hi", chunk=chunk, run_id=run_id)
        joined = AIMessage("hi")
        joined.usage_metadata = block
        handler.on_llm_end(chat(joined), run_id=run_id)
        assert counted(recorder) == [10, 5, 0, 1]
