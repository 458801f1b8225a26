"""Time to first token over HTTP: what each provider package makes of its provider's stream.

The streams are written after the providers' documentation, announcements first. The provider
notes when its first output went out; that is never before we counted one, and we have counted it
by the time that the reader has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import pytest

from agentmetrics import MemoryRecorder
from agentmetrics.calls.facts import LLMCall
from agentmetrics.providers.streams import StreamReader
from tests.services.replay import Replay
from tests.services.wire import NO_KEY

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    # the provider packages' own
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


def data(*events: Any) -> list[bytes]:
    return [f"data: {json.dumps(event)}\n\n".encode() for event in events]


def named(*events: Any) -> list[bytes]:
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


def lines(*events: Any) -> list[bytes]:
    return [f"{json.dumps(event)}\n".encode() for event in events]


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/chat-streaming, which many others speak."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({"content": ""}, "stop")
HI = chunk({"content": "Hi"})
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Stream:
    """A provider's stream, and the model that reads it, made on its address."""

    model: Callable[[str], Any]
    announced: Iterable[bytes]
    said: Iterable[bytes]
    media_type: str = SSE


def _openai(url: str, **options: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-5", base_url=f"{url}/v1", api_key=NO_KEY, max_retries=0, **options)


def _anthropic(url: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    thinking = {"type": "enabled", "budget_tokens": 1024}
    return ChatAnthropic(
        model_name="claude-haiku-4-5", base_url=url, api_key=NO_KEY, max_retries=0,
        max_tokens_to_sample=2048, thinking=thinking, timeout=None, stop=None,
    )  # fmt: skip


def _deepseek(url: str) -> Any:
    from langchain_deepseek import ChatDeepSeek

    return ChatDeepSeek(model="deepseek-reasoner", base_url=url, api_key=NO_KEY, max_retries=0)


def _groq(url: str) -> Any:
    from langchain_groq import ChatGroq

    return ChatGroq(model="openai/gpt-oss-20b", base_url=url, api_key=NO_KEY, max_retries=0)


def _mistral(url: str) -> Any:
    from langchain_mistralai import ChatMistralAI

    return ChatMistralAI(
        model_name="magistral-small-latest", base_url=url, api_key=NO_KEY, max_retries=1
    )


def _openrouter(url: str) -> Any:
    from langchain_openrouter import ChatOpenRouter

    return ChatOpenRouter(model="deepseek/deepseek-r1", base_url=url, api_key=NO_KEY, max_retries=0)


def _ollama(url: str) -> Any:
    from langchain_ollama import ChatOllama

    return ChatOllama(model="qwen3", base_url=url, reasoning=True)


def _ollama_text(url: str) -> Any:
    from langchain_ollama import OllamaLLM

    return OllamaLLM(model="qwen3", base_url=url)


def _gemini(url: str) -> Any:
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", base_url=url, api_key=NO_KEY, max_retries=1, include_thoughts=True
    )


def _cohere(url: str) -> Any:
    from langchain_cohere import ChatCohere

    return ChatCohere(model="command-a-03-2025", base_url=url, cohere_api_key=NO_KEY)


# https://platform.openai.com/docs/api-reference/responses-streaming
_RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "output": [],
    "status": "in_progress", "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}  # fmt: skip
_ITEM = {"id": "rs_1", "type": "reasoning", "summary": []}
_COMPLETED = {
    **_RESPONSE,
    "status": "completed",
    "output": [_ITEM],
    "usage": {
        "input_tokens": 10,
        "output_tokens": 7,
        "total_tokens": 17,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 3},
    },
}


def _numbered(*events: dict[str, Any]) -> list[bytes]:
    return named(*({**event, "sequence_number": i} for i, event in enumerate(events)))


RESPONSES_ANNOUNCED = _numbered(
    {"type": "response.created", "response": _RESPONSE},
    {"type": "response.in_progress", "response": _RESPONSE},
    {"type": "response.output_item.added", "output_index": 0, "item": _ITEM},
    {
        "type": "response.reasoning_summary_part.added",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 0,
        "part": {"type": "summary_text", "text": ""},
    },
)
RESPONSES_SAID = _numbered(
    {
        "type": "response.reasoning_summary_text.delta",
        "item_id": "rs_1",
        "output_index": 0,
        "summary_index": 0,
        "delta": "Hm",
    },
    {"type": "response.completed", "response": _COMPLETED},
)

# https://docs.anthropic.com/en/docs/build-with-claude/streaming
_MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
    "content": [], "stop_reason": None, "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 1},
}  # fmt: skip
_END_OF_MESSAGE = (
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"input_tokens": 10, "output_tokens": 9},
    },
    {"type": "message_stop"},
)


def _block(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": block}


def _delta(**delta: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


# https://docs.ollama.com/api
def _generated(**fields: Any) -> dict[str, Any]:
    head = {"model": "qwen3", "created_at": "2025-01-01T00:00:00Z", "done": False}
    return {**head, "response": "", **fields}


def _chatted(done: bool = False, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "", **message}
    head = {"model": "qwen3", "created_at": "2025-01-01T00:00:00Z", "done": done}
    return {**head, "message": said}


# https://ai.google.dev/api/generate-content
def _parts(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **fields}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "usageMetadata": usage}


# https://docs.cohere.com/v2/docs/streaming
def _message(**fields: Any) -> dict[str, Any]:
    return {"message": fields}


STREAMS: dict[str, Stream] = {
    "openai": Stream(_openai, data(ROLE), [*data(HI, STOP), DONE]),
    "openai: a tool": Stream(
        _openai,
        data(chunk({"role": "assistant", "content": None})),
        [
            *data(
                chunk(
                    {
                        "tool_calls": [
                            {
                                "index": 0,
                                "id": "1",
                                "type": "function",
                                "function": {"name": "weigh", "arguments": ""},
                            }
                        ]
                    }
                ),
                chunk({}, "tool_calls"),
            ),
            DONE,
        ],
    ),
    **{
        f"openai's responses, {version}": Stream(
            partial(_openai, use_responses_api=True, output_version=version),
            RESPONSES_ANNOUNCED,
            RESPONSES_SAID,
        )
        for version in ("responses/v1", "v0", "v1")
    },
    "anthropic": Stream(
        _anthropic,
        named(
            {"type": "message_start", "message": _MESSAGE},
            _block({"type": "text", "text": ""}),
            {"type": "ping"},
        ),
        named(_delta(type="text_delta", text="Hi"), *_END_OF_MESSAGE),
    ),
    "anthropic: a thought": Stream(
        _anthropic,
        named(
            {"type": "message_start", "message": _MESSAGE},
            _block({"type": "thinking", "thinking": "", "signature": ""}),
            _delta(type="signature_delta", signature="abc"),
        ),
        named(_delta(type="thinking_delta", thinking="Hm"), *_END_OF_MESSAGE),
    ),
    "anthropic: a tool": Stream(
        _anthropic,
        named({"type": "message_start", "message": _MESSAGE}),
        named(
            _block({"type": "tool_use", "id": "1", "name": "weigh", "input": {}}),
            _delta(type="input_json_delta", partial_json=""),
            *_END_OF_MESSAGE,
        ),
    ),
    "deepseek: reasoning": Stream(
        _deepseek,
        data(chunk({"role": "assistant", "content": None, "reasoning_content": ""})),
        [*data(chunk({"content": None, "reasoning_content": "Hm"}), HI, STOP), DONE],
    ),
    "groq: reasoning": Stream(
        _groq, data(ROLE), [*data(chunk({"reasoning": "Hm"}), HI, STOP), DONE]
    ),
    "mistral: a thought": Stream(
        _mistral,
        data(
            ROLE,
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": ""}]}]}),
        ),
        [
            *data(
                chunk(
                    {
                        "content": [
                            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
                        ]
                    }
                ),
                HI,
                STOP,
            ),
            DONE,
        ],
    ),
    "openrouter: reasoning": Stream(
        _openrouter,
        [b": OPENROUTER PROCESSING\n\n", *data(ROLE)],
        [
            *data(
                chunk(
                    {
                        "content": "",
                        "reasoning": "Hm",
                        "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0}],
                    }
                ),
                HI,
                STOP,
            ),
            DONE,
        ],
    ),
    "ollama: a thought": Stream(
        _ollama,
        lines(_chatted()),
        lines(_chatted(thinking="Hm"), _chatted(content="Hi"), _chatted(done=True)),
        NDJSON,
    ),
    "ollama: text": Stream(
        _ollama_text,
        lines(_generated()),
        lines(_generated(response="Hi"), _generated(done=True, done_reason="stop")),
        NDJSON,
    ),
    "gemini: a thought": Stream(
        _gemini,
        data(_parts({"text": ""})),
        data(_parts({"text": "Hm", "thought": True}), _parts({"text": "Hi"}, finishReason="STOP")),
    ),
    "gemini: a tool": Stream(
        _gemini,
        data(_parts({"text": ""})),
        data(_parts({"functionCall": {"name": "weigh", "args": {"a": 1}}}, finishReason="STOP")),
    ),
    "cohere: a thought": Stream(
        _cohere,
        named(
            {"type": "message-start", "id": "m", "delta": _message(role="assistant", content=[])},
            {"type": "content-start", "index": 0, "delta": _message(content={"type": "thinking"})},
            {"type": "content-delta", "index": 0, "delta": _message(content={"thinking": ""})},
        ),
        named(
            {"type": "content-delta", "index": 0, "delta": _message(content={"thinking": "Hm"})},
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "COMPLETE",
                    "usage": {
                        "billed_units": {"input_tokens": 5, "output_tokens": 2},
                        "tokens": {"input_tokens": 5, "output_tokens": 2},
                    },
                },
            },
        ),
    ),
}


@pytest.fixture
def model(name: str, replay: Replay) -> Any:
    stream = STREAMS[name]
    replay.script(stream.media_type, list(stream.announced), list(stream.said))
    return stream.model(replay.url)


SAID = re.compile("Hm|Hi|weigh")
"""The first output of every stream above, wherever the provider package puts it."""


def first_said(items: Iterator[Any]) -> float:
    """Read to the end; when the first output came to the reader."""
    times = [perf_counter() for item in items if SAID.search(repr(item))]
    return times[0]


def check(recorder: MemoryRecorder, ended: list[LLMCall], sent: list[float], read: float) -> None:
    """The provider had sent its first output when we counted it, and the reader had none yet."""
    [call], [sent_at] = ended, sent
    assert sent_at <= call.first_token <= read
    assert recorder.histogram("llm_time_to_first_token_seconds").count == 1
    assert recorder.value("llm_calls_total", status="success") == 1
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert recorder.value("agentmetrics_open_runs") == 0


class TestTheFirstToken:
    @pytest.mark.parametrize("name", STREAMS)
    def test_the_first_token_of_a_stream_is_its_first_output(
        self, model: Any, config: Any, replay: Replay, recorder: MemoryRecorder, ended: Any
    ) -> None:
        read = first_said(model.stream("x", config))
        check(recorder, ended, replay.first_output_sent, read)

    @pytest.mark.parametrize("name", [name for name in STREAMS if name != "ollama: text"])
    def test_the_first_token_of_v3_events_is_the_same(
        self, model: Any, config: Any, replay: Replay, recorder: MemoryRecorder, ended: Any
    ) -> None:
        read = first_said(iter(model.stream_events("x", config, version="v3")))
        check(recorder, ended, replay.first_output_sent, read)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_read_without_langchain_says_something_at_the_same_event(name):
    stream, reader = STREAMS[name], StreamReader()
    assert [reader.read(event) for event in stream.announced] == [False] * len(
        list(stream.announced)
    )
    assert reader.read(next(iter(stream.said)))
