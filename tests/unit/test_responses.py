"""What record_response makes of responses that no LangChain package hands on, of every provider."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import httpx
import pytest
from botocore.response import StreamingBody

from agentmetrics import MemoryRecorder, Usage, track_call
from agentmetrics.providers.responses import read_response
from agentmetrics.providers.streams import StreamReader
from tests.conformance.without import as_object


class Said(NamedTuple):
    """What a response says of its call."""

    usage: Usage | None = None
    model: str = ""
    finish_reason: str = ""
    service_tier: str = ""


def read(response: object) -> Said:
    reader = StreamReader()
    read_response(reader, response)
    return Said(reader.usage, reader.served_model, reader.finish_reason, reader.service_tier)


CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
CHATTED = Said(Usage(10, 5), "gpt-4o-mini-2024-07-18", "stop")
CLAUDE = {
    "id": "msg_bdrk_01",
    "type": "message",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3},
}

SHAPES: dict[str, tuple[Any, Said]] = {
    # https://platform.openai.com/docs/api-reference
    "OpenAI, embeddings": (
        {
            "object": "list",
            "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        },
        Said(Usage(8, 0), "text-embedding-3-small"),
    ),
    "OpenAI, images": (
        {
            "created": 1,
            "data": [{"b64_json": "aGk="}],
            "usage": {
                "input_tokens": 50,
                "output_tokens": 4000,
                "total_tokens": 4050,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            },
        },
        Said(Usage(50, 4000, image_input_tokens=40)),
    ),
    "OpenAI, images of a model without tokens": ({"created": 1, "data": [{"url": "u"}]}, Said()),
    "OpenAI, a transcription": (
        {
            "text": "Hi",
            "usage": {
                "type": "tokens",
                "input_tokens": 14,
                "input_token_details": {"text_tokens": 2, "audio_tokens": 12},
                "output_tokens": 45,
                "total_tokens": 59,
            },
        },
        Said(Usage(14, 45, audio_input_tokens=12)),
    ),
    "OpenAI, a transcription that is paid by the second": (
        {"text": "Hi", "usage": {"type": "duration", "seconds": 9}},
        Said(),
    ),
    "OpenAI, the last event of a transcription": (
        {
            "type": "transcript.text.done",
            "text": "Hi",
            "usage": {"input_tokens": 4, "output_tokens": 5},
        },
        Said(Usage(4, 5)),
    ),
    "OpenAI, a line of a batch": (
        {
            "id": "batch_req_1",
            "custom_id": "request-1",
            "response": {"status_code": 200, "request_id": "r", "body": CHAT},
            "error": None,
        },
        CHATTED._replace(service_tier="batch"),
    ),
    "OpenAI, Realtime": (
        {
            "type": "response.done",
            "response": {
                "object": "realtime.response",
                "status": "completed",
                "usage": {
                    "total_tokens": 253,
                    "input_tokens": 132,
                    "output_tokens": 121,
                    "input_token_details": {
                        "text_tokens": 119,
                        "audio_tokens": 13,
                        "cached_tokens": 64,
                    },
                    "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
                },
            },
        },
        Said(
            Usage(132, 121, cache_read_tokens=64, audio_input_tokens=13, audio_output_tokens=91),
            "",
            "stop",
        ),
    ),
    # https://docs.anthropic.com/en/api/retrieving-message-batch-results
    "Anthropic, a line of a batch": (
        {
            "custom_id": "request-1",
            "result": {"type": "succeeded", "message": {**CLAUDE, "id": "msg_01"}},
        },
        Said(Usage(13, 5, cache_read_tokens=3), "claude-sonnet-4-5-20250929", "stop", "batch"),
    ),
    "Anthropic, the events of a stream, kept": (
        [
            {
                "type": "message_start",
                "message": {
                    "model": "claude-sonnet-4-5",
                    "usage": {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 3},
                },
            },
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "max_tokens"},
                "usage": {"output_tokens": 5},
            },
        ],
        Said(Usage(13, 5, cache_read_tokens=3), "claude-sonnet-4-5", "length"),
    ),
    # https://ai.google.dev/api
    "Gemini, embeddings on Vertex": (
        {"embeddings": [{"values": [0.1], "statistics": {"token_count": 7}}]},
        Said(Usage(7, 0)),
    ),
    "Gemini, embeddings that say nothing of tokens": ({"embeddings": [{"values": [0.1]}]}, Said()),
    "Vertex, a prediction": (
        {"predictions": [{"embeddings": {"values": [0.1], "statistics": {"token_count": 7}}}]},
        Said(Usage(7, 0)),
    ),
    "Gemini, the Live API": (
        {"usageMetadata": {"promptTokenCount": 9, "responseTokenCount": 4, "totalTokenCount": 13}},
        Said(Usage(9, 4)),
    ),
    "Gemini, an interaction": (
        {
            "id": "v1_1",
            "model": "gemini-2.5-flash",
            "status": "completed",
            "usage": {
                "total_input_tokens": 9,
                "total_output_tokens": 4,
                "total_thought_tokens": 6,
                "total_cached_tokens": 2,
                "total_tool_use_tokens": 1,
                "total_tokens": 20,
            },
        },
        Said(Usage(10, 10, cache_read_tokens=2, reasoning_tokens=6), "gemini-2.5-flash", "stop"),
    ),
    "Gemini, a line of a batch": (
        {
            "key": "request-1",
            "response": {
                "modelVersion": "gemini-2.5-flash",
                "candidates": [{"finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4},
            },
        },
        Said(Usage(9, 4), "gemini-2.5-flash", "stop", "batch"),
    ),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
    "Bedrock, Titan": (
        {
            "inputTextTokenCount": 5,
            "results": [
                {"tokenCount": 10, "outputText": "Hi", "completionReason": "FINISH"},
                {"tokenCount": 2, "outputText": "Hi", "completionReason": "LENGTH"},
            ],
        },
        Said(Usage(5, 12), "", "stop"),
    ),
    "Bedrock, Titan's embeddings": (
        {"embedding": [0.1], "inputTextTokenCount": 5},
        Said(Usage(5, 0)),
    ),
    "Bedrock, Nova": (
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": 7,
                "outputTokens": 3,
                "totalTokens": 15,
                "cacheReadInputTokenCount": 5,
                "cacheWriteInputTokenCount": 0,
            },
        },
        Said(Usage(12, 3, cache_read_tokens=5, cache_creation_tokens=0), "", "stop"),
    ),
    "Bedrock, Llama, whose counts are named as Gemini's are": (
        {
            "generation": "Hi",
            "prompt_token_count": 5,
            "generation_token_count": 3,
            "stop_reason": "length",
        },
        Said(Usage(5, 3), "", "length"),
    ),
    "Bedrock, Claude, whose price there is not that of the model it names": (
        CLAUDE,
        Said(Usage(13, 5, cache_read_tokens=3), "", "stop"),
    ),
    "Bedrock, Mistral's text, without headers": (
        {"outputs": [{"text": "Hi", "stop_reason": "length"}]},
        Said(None, "", "length"),
    ),
    "Bedrock, AI21's Jamba": (
        {
            "id": "chat-1",
            "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
        },
        Said(Usage(5, 3), "", "stop"),
    ),
    "Bedrock, Cohere's generations": (
        {"generations": [{"text": "Hi", "finish_reason": "COMPLETE"}]},
        Said(None, "", "stop"),
    ),
    "Bedrock, a line of a batch": (
        {"recordId": "r1", "modelInput": {}, "modelOutput": CLAUDE},
        Said(Usage(13, 5, cache_read_tokens=3), "", "stop", "batch"),
    ),
    # https://docs.cohere.com/v1/reference, https://docs.cohere.com/reference
    "Cohere, version 1": (
        {
            "text": "Hi",
            "finish_reason": "COMPLETE",
            "tool_calls": [{"name": "weigh", "parameters": {}}],
            "meta": {
                "billed_units": {"input_tokens": 4.0, "output_tokens": 9.0},
                "tokens": {"input_tokens": 70.0, "output_tokens": 9.0},
            },
        },
        Said(Usage(4, 9), "", "tool_calls"),
    ),
    "Cohere, version 1, the end of a stream": (
        {
            "event_type": "stream-end",
            "finish_reason": "MAX_TOKENS",
            "response": {"meta": {"billed_units": {"input_tokens": 4, "output_tokens": 9}}},
        },
        Said(Usage(4, 9), "", "length"),
    ),
    "Cohere, version 2, the end of a stream": (
        {
            "type": "message-end",
            "delta": {
                "finish_reason": "COMPLETE",
                "usage": {"billed_units": {"input_tokens": 4, "output_tokens": 9}},
            },
        },
        Said(Usage(4, 9), "", "stop"),
    ),
    "Cohere, no bill, only what the model saw": (
        {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 7, "output_tokens": 9}}},
        Said(Usage(7, 9), "", "stop"),
    ),
    "Cohere, embeddings": (
        {
            "embeddings": {"float": [[0.1]]},
            "response_type": "embeddings_by_type",
            "meta": {"billed_units": {"input_tokens": 6}},
        },
        Said(Usage(6, 0)),
    ),
    "Cohere, a reranking, which is not paid by the token": (
        {
            "results": [{"index": 0, "relevance_score": 0.9}],
            "meta": {"billed_units": {"search_units": 1}},
        },
        Said(),
    ),
    "Voyage, a reranking": (
        {
            "data": [{"index": 0, "relevance_score": 0.9}],
            "model": "rerank-2",
            "usage": {"total_tokens": 26},
        },
        Said(Usage(26, 0), "rerank-2"),
    ),
    # https://console.groq.com/docs/api-reference
    "Groq, the last chunk of a stream": (
        {
            "id": "chatcmpl-1",
            "model": "llama-3.3-70b-versatile",
            "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
            "x_groq": {"id": "req", "usage": {"prompt_tokens": 42, "completion_tokens": 4}},
        },
        Said(Usage(42, 4), "llama-3.3-70b-versatile", "stop"),
    ),
    # https://docs.ollama.com/api
    "Ollama, embeddings": (
        {"model": "all-minilm", "embeddings": [[0.1]], "prompt_eval_count": 8},
        Said(Usage(8, 0), "all-minilm"),
    ),
    # https://docs.x.ai/docs/guides/reasoning
    "xAI, whose reasoning is beside the output": (
        {
            **CHAT,
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
        },
        CHATTED._replace(usage=Usage(32, 103, reasoning_tokens=94)),
    ),
    "xAI, its SDK": (
        {
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "reasoning_tokens": 94,
                "cached_prompt_text_tokens": 6,
                "total_tokens": 135,
            },
            "finish_reason": "REASON_STOP",
            "proto": {"model": "grok-4"},
        },
        Said(Usage(32, 103, cache_read_tokens=6, reasoning_tokens=94), "grok-4", "stop"),
    ),
    # https://docs.perplexity.ai/api-reference/chat-completions-post
    "Perplexity, whose reasoning has a price of its own": (
        {
            **CHAT,
            "usage": {
                "prompt_tokens": 33,
                "completion_tokens": 70,
                "total_tokens": 103,
                "citation_tokens": 20,
                "reasoning_tokens": 600,
                "num_search_queries": 5,
            },
        },
        CHATTED._replace(usage=Usage(33, 670, reasoning_tokens=600)),
    ),
    # https://docs.litellm.ai/docs/completion/prompt_caching
    "LiteLLM, of Anthropic": (
        {
            **CHAT,
            "usage": {
                "prompt_tokens": 33,
                "completion_tokens": 5,
                "total_tokens": 38,
                "prompt_tokens_details": {"cached_tokens": 20, "cache_creation_tokens": 3},
                "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 20,
            },
        },
        CHATTED._replace(usage=Usage(33, 5, cache_read_tokens=20, cache_creation_tokens=3)),
    ),
    "LlamaIndex": ({"raw": CHAT, "message": "Hi", "delta": None}, CHATTED),
    "Instructor": (SimpleNamespace(name="Ada", _raw_response=CHAT), CHATTED),
    # https://ai.pydantic.dev/api/usage
    "pydantic-ai, a model's response": (
        {
            "parts": [],
            "usage": {
                "input_tokens": 33,
                "cache_write_tokens": 3,
                "cache_read_tokens": 20,
                "output_tokens": 5,
                "input_audio_tokens": 0,
                "output_audio_tokens": 0,
                "details": {"reasoning_tokens": 2},
            },
            "model_name": "gpt-5-2025-08-07",
            "finish_reason": "tool_call",
        },
        Said(
            Usage(
                33,
                5,
                cache_read_tokens=20,
                cache_creation_tokens=3,
                reasoning_tokens=2,
                audio_input_tokens=0,
                audio_output_tokens=0,
            ),
            "gpt-5-2025-08-07",
            "tool_calls",
        ),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_response_as_plain_data(name: str) -> None:
    response, said = SHAPES[name]
    assert read(response) == said


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_as_objects(name: str) -> None:
    response, said = SHAPES[name]
    assert read(as_object(response)) == said


@pytest.mark.parametrize("name", [n for n, (told, _) in SHAPES.items() if isinstance(told, dict)])
def test_the_same_as_text(name: str) -> None:
    response, said = SHAPES[name]
    assert read(json.dumps(response)) == said
    assert read(json.dumps(response).encode()) == said


class ModelResponse:
    """As pydantic-ai has it."""

    parts: tuple[Any, ...] = ()
    usage = SimpleNamespace(input_tokens=33, output_tokens=5, cache_read_tokens=0)
    model_name = "gpt-5-2025-08-07"
    finish_reason = "stop"


class CallsATool(ModelResponse):
    parts = (SimpleNamespace(part_kind="tool-call", tool_name="weigh"),)


class SaysNothingOfTokens(ModelResponse):
    usage = SimpleNamespace(input_tokens=0, output_tokens=0, cache_read_tokens=0)


class RunResult:
    response = ModelResponse()
    usage = ModelResponse.usage


class OlderRunResult(RunResult):
    def usage(self) -> Any:  # type: ignore[override]
        return ModelResponse.usage


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ModelResponse, {}),
        (RunResult, {}),
        (OlderRunResult, {}),
        (CallsATool, {"finish_reason": "tool_calls"}),
        (SaysNothingOfTokens, {"usage": None}),
    ],
)
def test_what_pydantic_ai_returns(
    kind: type, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "__module__", "pydantic_ai.run")
    expected = Said(Usage(33, 5, cache_read_tokens=0), "gpt-5-2025-08-07", "stop")
    assert read(kind()) == expected._replace(**said)


def test_a_method_that_is_named_as_usage_is_called_of_nobody_else() -> None:
    assert read(OlderRunResult()) == Said()


class TestInvokeModel:
    HEADERS = {  # noqa: RUF012 - it is only read
        "x-amzn-bedrock-input-token-count": "25",
        "x-amzn-bedrock-output-token-count": "7",
        "x-amzn-bedrock-cache-read-input-token-count": "5",
    }

    def returned(self, body: Any) -> dict[str, Any]:
        metadata = {"HTTPStatusCode": 200, "HTTPHeaders": self.HEADERS}
        return {"ResponseMetadata": metadata, "contentType": "application/json", "body": body}

    def test_what_boto3_returns_has_the_counts_in_its_headers_and_keeps_its_body(self) -> None:
        text = json.dumps(CLAUDE).encode()
        body = StreamingBody(io.BytesIO(text), len(text))
        assert read(self.returned(body)) == Said(Usage(30, 7, cache_read_tokens=5))
        assert json.loads(body.read()) == CLAUDE

    def test_with_the_body_that_was_read_there_is_more(self) -> None:
        body = {"outputs": [{"text": "Hi", "stop_reason": "length"}]}
        expected = Said(Usage(30, 7, cache_read_tokens=5), "", "length")
        assert read(self.returned(body)) == expected
        assert read(self.returned(json.dumps(body).encode())) == expected

    def test_over_plain_http(self) -> None:
        body = {"outputs": [{"text": "Hi", "stop_reason": "length"}]}
        response = httpx.Response(200, headers=self.HEADERS, json=body)
        assert read(response) == Said(Usage(30, 7, cache_read_tokens=5), "", "length")

    def test_the_service_tier(self) -> None:
        assert read({**self.returned(None), "serviceTier": "flex"}).service_tier == "flex"


class TestHTTP:
    def test_a_response_of_httpx(self) -> None:
        assert read(httpx.Response(200, json=CHAT)) == CHATTED

    def test_one_that_was_not_read(self) -> None:
        response = httpx.Response(200, stream=httpx.ByteStream(b"{}"))
        assert read(response) == Said()
        assert not response.is_stream_consumed

    def test_text_of_a_stream(self) -> None:
        events = [{"choices": [{"delta": {"content": "Hi"}, "index": 0}]}, CHAT]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        assert read(text) == CHATTED
        assert read(httpx.Response(200, text=text)) == CHATTED

    def test_lines_of_json(self) -> None:
        text = '{"model": "qwen3", "done": false}\n' + json.dumps(
            {"model": "qwen3", "done": True, "eval_count": 5, "prompt_eval_count": 10}
        )
        assert read(text) == Said(Usage(10, 5), "qwen3")


@pytest.mark.parametrize(
    "response",
    [None, 7, "an answer", "", b"", [], {}, object(), [CHAT, {**CHAT, "id": "2"}], "[1]", "{"],
)
def test_what_is_no_response_says_nothing(response: object) -> None:
    assert read(response) == Said()


def test_a_mock_in_a_programs_own_tests_is_a_call_without_tokens(recorder: MemoryRecorder) -> None:
    mock = MagicMock()
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_response(mock)
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        assert list(call.record_stream(iter([mock, mock]))) == [mock, mock]
    assert recorder.value("llm_calls_total", status="success") == 2
    assert recorder.value("llm_tokens_total") == 0


def test_a_line_of_a_batch_that_failed_is_an_error() -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    reader = StreamReader()
    read_response(reader, {"custom_id": "1", "result": {"type": "errored", "error": error}})
    assert reader.failure is not None


def test_an_error_is_one() -> None:
    reader = StreamReader()
    read_response(reader, {"error": {"code": 429, "message": "slow down"}})
    assert reader.failure is not None
    assert reader.failure.code == 429


def test_a_model_whose_hash_raises_costs_no_call(recorder: MemoryRecorder) -> None:
    class Odd(str):
        __slots__ = ()
        __hash__ = None  # type: ignore[assignment]

    with track_call("openai", "gpt-4o-mini", recorder=recorder) as call:
        call.record_response({**CHAT, "model": Odd("gpt-4o-2024-08-06")})
    assert recorder.value("llm_served_calls_total", served_model="gpt-4o-2024-08-06") == 1
    assert recorder.value("llm_calls_total") == 1
