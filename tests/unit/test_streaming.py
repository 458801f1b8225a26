"""Time to first token: which chunk is the first, on every way to stream, on a monotonic clock."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolCallChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult, GenerationChunk, LLMResult
from langchain_core.runnables import RunnableLambda

from agentmetrics import MemoryRecorder, track_call
from agentmetrics.calls.facts import LLMCall
from agentmetrics.sources.langchain.callbacks.streaming import (
    chunk_carries_output,
    event_carries_output,
)
from tests.unit.scripted import Chat, answer, assert_settled

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.asyncio_alone,
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]


def tool_chunk(name: str | None, args: str, index: int = 0) -> AIMessageChunk:
    chunk = ToolCallChunk(name=name, args=args, id="1" if name else None, index=index)
    return AIMessageChunk(content="", tool_call_chunks=[chunk])


# What provider packages make of the chunks before the first token, and of that token: taken from
# langchain-openai 1.7, -anthropic 1.7, -google-genai 4.4, -mistralai 1.1, -deepseek 1.1,
# -groq 1.1, -ollama 1.1, -openrouter 0.2, -cohere 0.6 and -aws 1.9.
ANNOUNCING: dict[str, Any] = {
    "nothing": AIMessageChunk(content=""),
    "no blocks": AIMessageChunk(content=[]),
    "a role": AIMessageChunk(content="", additional_kwargs={"role": "assistant"}),
    "an empty text": AIMessageChunk(content=[{"type": "text", "text": "", "index": 0}]),
    "a text's phase": AIMessageChunk(
        content=[{"type": "text", "text": "", "phase": "final", "index": 0}]
    ),
    "a text's id at its end": AIMessageChunk(content=[{"type": "text", "text": "", "id": "msg_1"}]),
    "annotations": AIMessageChunk(
        content=[{"type": "text", "annotations": [{"url": "https://a"}]}]
    ),
    "deepseek: empty reasoning": AIMessageChunk(
        content="", additional_kwargs={"reasoning_content": ""}
    ),
    "anthropic: an empty thought": AIMessageChunk(content=[{"type": "thinking", "thinking": ""}]),
    "anthropic: a signature": AIMessageChunk(
        content=[{"type": "thinking", "thinking": "", "signature": "abc", "index": 0}]
    ),
    "anthropic: no arguments yet": AIMessageChunk(
        content=[{"type": "input_json_delta", "partial_json": "", "index": 0}],
        tool_call_chunks=[{"name": None, "args": "", "id": None, "index": 0}],
    ),
    "openai: an item of reasoning": AIMessageChunk(
        content=[
            {"type": "reasoning", "id": "rs_1", "summary": [], "status": "in_progress", "index": 0}
        ]
    ),
    "openai: a part of a summary": AIMessageChunk(
        content=[
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "", "index": 0}]}
        ]
    ),
    "openai: encrypted reasoning": AIMessageChunk(
        content=[{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}]
    ),
    "openai, v0: an item of reasoning": AIMessageChunk(
        content=[],
        additional_kwargs={"reasoning": {"id": "rs_1", "type": "reasoning", "summary": []}},
    ),
    "openai, v1: an item of reasoning": AIMessageChunk(
        content=[{"type": "reasoning", "id": "rs_1", "extras": {"status": "in_progress"}}]
    ),
    "mistral: an empty thought": AIMessageChunk(
        content=[{"type": "thinking", "thinking": [{"type": "text", "text": "", "index": 0}]}]
    ),
    "cohere: an empty thought": AIMessageChunk(
        content=[{"type": "reasoning", "summary": [{"text": "", "index": 0}]}]
    ),
    "bedrock: a signature": AIMessageChunk(
        content=[
            {"type": "reasoning_content", "reasoning_content": {"signature": "abc"}, "index": 0}
        ]
    ),
    "the end": AIMessageChunk(
        content="",
        usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        response_metadata={"finish_reason": "stop", "model_name": "gpt-4o"},
        chunk_position="last",
    ),
}
FIRST: dict[str, Any] = {
    "text": AIMessageChunk(content="a"),
    "white space": AIMessageChunk(content="\n"),
    "a block of text": AIMessageChunk(content=[{"type": "text", "text": "a", "index": 0}]),
    "text in a list": AIMessageChunk(content=["a"]),
    "a tool's name": tool_chunk("add", ""),
    "a tool's arguments": tool_chunk(None, "{"),
    "a refusal": AIMessageChunk(content=[{"type": "refusal", "refusal": "no"}]),
    "an image": AIMessageChunk(
        content=[{"type": "image", "base64": "aGk=", "mime_type": "image/png"}]
    ),
    "an image's address": AIMessageChunk(
        content=[{"type": "image_url", "image_url": {"url": "data:,"}}]
    ),
    "sound": AIMessageChunk(content="", additional_kwargs={"audio": b"RIFF"}),
    "deepseek, groq, ollama: reasoning": AIMessageChunk(
        content="", additional_kwargs={"reasoning_content": "hm"}
    ),
    "openrouter: reasoning": AIMessageChunk(
        content="",
        additional_kwargs={"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    ),
    "groq: a tool it runs": AIMessageChunk(
        content="", additional_kwargs={"executed_tools": [{"type": "python", "arguments": "{}"}]}
    ),
    "anthropic, gemini: a thought": AIMessageChunk(
        content=[{"type": "thinking", "thinking": "hm"}]
    ),
    "anthropic: a redacted thought": AIMessageChunk(
        content=[{"type": "redacted_thinking", "data": "xyz"}]
    ),
    "anthropic: a tool": AIMessageChunk(
        content=[{"type": "tool_use", "id": "1", "name": "add", "input": {}, "index": 0}]
    ),
    "anthropic: arguments": AIMessageChunk(
        content=[{"type": "input_json_delta", "partial_json": "{"}]
    ),
    "openai: a summary": AIMessageChunk(
        content=[
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "index": 0}]}
        ]
    ),
    "openai: a tool it runs": AIMessageChunk(
        content=[{"type": "web_search_call", "id": "ws_1", "status": "completed"}]
    ),
    "openai: a function's older shape": AIMessageChunk(
        content="", additional_kwargs={"function_call": {"name": "add", "arguments": ""}}
    ),
    "openai, v0: a summary": AIMessageChunk(
        content=[], additional_kwargs={"reasoning": {"summary": [{"text": "hm", "index": 0}]}}
    ),
    "openai, v1: reasoning": AIMessageChunk(content=[{"type": "reasoning", "reasoning": "hm"}]),
    "openai, v1: what LangChain has no name for": AIMessageChunk(
        content=[{"type": "non_standard", "value": {"type": "compaction", "content": "so far"}}]
    ),
    "mistral: a thought": AIMessageChunk(
        content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm", "index": 0}]}]
    ),
    "cohere: a thought": AIMessageChunk(
        content=[{"type": "reasoning", "summary": [{"text": "hm", "index": 0}]}]
    ),
    "bedrock: a thought": AIMessageChunk(
        content=[{"type": "reasoning_content", "reasoning_content": {"text": "hm"}, "index": 0}]
    ),
    "bedrock: a redacted thought": AIMessageChunk(
        content=[{"type": "reasoning_content", "reasoning_content": {"redacted_content": b"x"}}]
    ),
}
# The v3 protocol's events, as langchain-core 1.7 makes them of chunks.
ANNOUNCING_EVENTS: dict[str, Any] = {
    "a message's start": {"event": "message-start", "role": "ai", "id": "lc_run--1"},
    "its metadata": {"event": "message-start", "id": "1", "metadata": {"provider": "openai"}},
    "a text's start": {"event": "content-block-start", "content": {"type": "text", "text": ""}},
    "reasoning's start": {
        "event": "content-block-start",
        "content": {"type": "reasoning", "reasoning": "", "extras": {"signature": "abc"}},
    },
    "cohere: reasoning's start": {
        "event": "content-block-start",
        "content": {"type": "reasoning", "reasoning": "", "summary": [{"text": "", "index": 0}]},
    },
    "an empty delta": {"event": "content-block-delta", "delta": {"type": "text-delta", "text": ""}},
    "no delta": {"event": "content-block-delta", "delta": None},
    "the message's end": {
        "event": "message-finish",
        "usage": {"input_tokens": 1},
        "metadata": {"finish_reason": "stop"},
    },
    "an error": {"event": "error", "message": "no"},
    "something new": {"event": "heartbeat", "at": 1},
}
FIRST_EVENTS: dict[str, Any] = {
    "text": {"event": "content-block-delta", "delta": {"type": "text-delta", "text": "a"}},
    "reasoning": {
        "event": "content-block-delta",
        "delta": {"type": "reasoning-delta", "reasoning": "hm"},
    },
    "data": {"event": "content-block-delta", "delta": {"type": "data-delta", "data": "aGk="}},
    "arguments": {
        "event": "content-block-delta",
        "delta": {"type": "tool-call-delta", "args": "{"},
    },
    "fields": {
        "event": "content-block-delta",
        "delta": {"type": "block-delta", "fields": {"type": "text", "text": "a"}},
    },
    "a tool's start": {
        "event": "content-block-start",
        "content": {"type": "tool_call_chunk", "id": "1", "name": "add", "args": ""},
    },
    "a whole tool call": {
        "event": "content-block-start",
        "content": {"type": "tool_call", "id": "1", "name": "add", "args": {}},
    },
    "an image's start, whose data comes later": {
        "event": "content-block-start",
        "content": {"type": "image", "mime_type": "image/png"},
    },
    "the start of what LangChain has no name for": {
        "event": "content-block-start",
        "content": {"type": "non_standard", "value": {}},
    },
    "a block that was not seen before its end": {
        "event": "content-block-finish",
        "content": {"type": "non_standard", "value": {"type": "compaction", "content": "so far"}},
    },
}


class TestAChunk:
    @pytest.mark.parametrize("shape", ANNOUNCING)
    def test_a_chunk_that_only_announces_is_not_the_first_token(self, shape: str) -> None:
        message = ANNOUNCING[shape]
        chunk = ChatGenerationChunk(message=message)
        assert not chunk_carries_output(message.content, chunk)
        assert not chunk_carries_output("", chunk)

    @pytest.mark.parametrize("shape", FIRST)
    def test_a_chunk_that_carries_output_is_the_first_token(self, shape: str) -> None:
        message = FIRST[shape]
        chunk = ChatGenerationChunk(message=message)
        assert chunk_carries_output(message.content, chunk)
        assert chunk_carries_output("", chunk)

    @pytest.mark.parametrize(
        ("token", "counts"), [("", False), ([], False), (None, False), ("a", True), (["a"], True)]
    )
    def test_a_chunk_of_a_text_llm_is_judged_by_its_text(self, token: Any, counts: bool) -> None:
        assert chunk_carries_output(token, None) is counts
        assert chunk_carries_output(token, GenerationChunk(text="")) is counts

    def test_a_chunk_of_a_message_class_without_our_attributes_is_judged_by_what_it_has(
        self,
    ) -> None:
        class Bare:
            class message:  # noqa: N801
                content = ""

        assert not chunk_carries_output("", Bare())
        Bare.message.content = "a"
        assert chunk_carries_output("", Bare())


class TestAnEvent:
    @pytest.mark.parametrize("shape", ANNOUNCING_EVENTS)
    def test_an_event_that_only_announces_is_not_the_first_token(self, shape: str) -> None:
        assert not event_carries_output(ANNOUNCING_EVENTS[shape])

    @pytest.mark.parametrize("shape", FIRST_EVENTS)
    def test_an_event_that_carries_output_is_the_first_token(self, shape: str) -> None:
        assert event_carries_output(FIRST_EVENTS[shape])


class Sent(NamedTuple):
    """When the model let go of its first output, and when it was asked for the next chunk."""

    before: float
    after: float


class Streaming(BaseChatModel):
    """Announces, then says something, and notes when: its own clock is the truth."""

    provider: str = "openai"
    announcing: list[Any]
    first: Any
    sent: Any
    """A list that gets a ``Sent``; ``Any``, or pydantic would copy it."""
    streaming: bool = False
    output_tokens: int = 5

    @property
    def _llm_type(self) -> str:
        return "streaming"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o", "ls_model_type": "chat"}

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise AssertionError("every way here is a stream")

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from map(self._chunk, self.announcing)
        first = self._chunk(self.first)
        before = perf_counter()
        yield first
        self.sent.append(Sent(before, perf_counter()))
        total = 10 + self.output_tokens
        usage = UsageMetadata(input_tokens=10, output_tokens=self.output_tokens, total_tokens=total)
        yield self._chunk(AIMessageChunk(content="b"))
        yield self._chunk(AIMessageChunk(content="", usage_metadata=usage))

    def _chunk(self, message: AIMessageChunk) -> ChatGenerationChunk:
        # LangChain reads blocks by the provider that the chunk names.
        tagged = {"response_metadata": {"model_provider": self.provider}}
        return ChatGenerationChunk(message=message.model_copy(update=tagged, deep=True))

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream():
            yield chunk


class StreamingText(BaseLLM):
    """The same for a text LLM, which tells LangChain of its chunks itself."""

    sent: Any

    @property
    def _llm_type(self) -> str:
        return "streaming-text"

    def _generate(self, *args: Any, **kwargs: Any) -> LLMResult:
        raise AssertionError("every way here is a stream")

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        for text in ("", "a", "b"):
            chunk = GenerationChunk(text=text)
            before = perf_counter()
            run_manager.on_llm_new_token(text, chunk=chunk)
            if text == "a":
                self.sent.append(Sent(before, perf_counter()))
            yield chunk

    async def _astream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[GenerationChunk]:
        for text in ("", "a", "b"):
            chunk = GenerationChunk(text=text)
            before = perf_counter()
            await run_manager.on_llm_new_token(text, chunk=chunk)
            if text == "a":
                self.sent.append(Sent(before, perf_counter()))
            yield chunk


TASK: Any = {"messages": [HumanMessage("x")]}
SAME: Any = RunnableLambda(lambda x: x)


def _read(items: Iterator[Any]) -> None:
    for _ in items:
        pass


async def _aread(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


async def _output_of_events(model: Any, config: Any) -> None:
    stream = await model.astream_events("x", config, version="v3")
    await stream.output
    for _ in range(5):  # the end event comes a few steps of the loop after the output
        await asyncio.sleep(0)


async def _output_of_graph_events(model: Any, config: Any) -> None:
    stream = await create_agent(model, name="writer").astream_events(TASK, config, version="v3")
    assert await stream.output()


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "stream": lambda m, c: _read(m.stream("x", c)),
    "astream": lambda m, c: _aread(m.astream("x", c)),
    "astream_events v2": lambda m, c: _aread(m.astream_events("x", c, version="v2")),
    "stream_events v3": lambda m, c: m.stream_events("x", c, version="v3").output,
    "astream_events v3": lambda m, c: _output_of_events(m, c),
    "invoke of a streaming model": lambda m, c: _streaming(m).invoke("x", c),
    "ainvoke of a streaming model": lambda m, c: _streaming(m).ainvoke("x", c),
    "batch of a streaming model": lambda m, c: _streaming(m).batch(["x"], c),
    "a chain's stream": lambda m, c: _read((SAME | m).stream("x", c)),
    "a chain's astream": lambda m, c: _aread((SAME | m).astream("x", c)),
    "a chain's astream_events v2": lambda m, c: _aread(
        (SAME | m).astream_events("x", c, version="v2")
    ),
    "a graph's messages": lambda m, c: _read(
        create_agent(m, name="writer").stream(TASK, c, stream_mode="messages")
    ),
    "a graph's stream_events v3": lambda m, c: (
        create_agent(m, name="writer").stream_events(TASK, c, version="v3").output
    ),
}
if sys.version_info >= (3, 11):  # before, LangGraph hands no callbacks on to async nodes
    WAYS |= {
        "a graph's messages, async": lambda m, c: _aread(
            create_agent(m, name="writer").astream(TASK, c, stream_mode="messages")
        ),
        "a graph's astream_events v2": lambda m, c: _aread(
            create_agent(m, name="writer").astream_events(TASK, c, version="v2")
        ),
        "a graph's astream_events v3": lambda m, c: _output_of_graph_events(m, c),
    }


def _streaming(model: Streaming) -> Streaming:
    options = {name: getattr(model, name) for name in ("provider", "announcing", "first", "sent")}
    return Streaming(**options, streaming=True)


async def _done(result: Any) -> None:
    if isinstance(result, Awaitable):
        await result


SHAPES = {
    # by provider: what announces, and the first output
    "openai": ("a role", "text"),
    "openai: a tool": ("a role", "a tool's name"),
    "openai: a summary": ("openai: a part of a summary", "openai: a summary"),
    "anthropic": ("an empty text", "a block of text"),
    "anthropic: a thought": ("anthropic: a signature", "anthropic, gemini: a thought"),
    "deepseek: reasoning": ("deepseek: empty reasoning", "deepseek, groq, ollama: reasoning"),
    "bedrock_converse: a thought": ("bedrock: a signature", "bedrock: a thought"),
}


class TestTheFirstToken:
    """The model notes when it lets go of its first output: our reading lies right after."""

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize("way", WAYS)
    async def test_the_first_token_is_timed_when_the_first_output_comes(
        self, way: str, shape: str, recorder: MemoryRecorder, config: Any, ended: list[LLMCall]
    ) -> None:
        announcing, first = SHAPES[shape]
        sent: list[Sent] = []
        model = Streaming(
            provider=shape.partition(":")[0],
            announcing=[ANNOUNCING["nothing"], ANNOUNCING[announcing]],
            first=FIRST[first],
            sent=sent,
        )
        await _done(WAYS[way](model, config))
        [call], [truth] = ended, sent
        assert truth.before <= call.first_token <= truth.after
        assert call.started <= call.first_token <= call.ended
        first_token = recorder.histogram("llm_time_to_first_token_seconds")
        assert (first_token.count, first_token.sum) == (1, call.first_token - call.started)
        assert_settled(recorder)
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    # Not astream_events: with any inline handler attached, LangChain keeps the start of a text
    # LLM's call from its own events, https://github.com/langchain-ai/langchain/issues/39633
    @pytest.mark.parametrize("way", ["stream", "astream", "a chain's stream", "a chain's astream"])
    async def test_the_first_token_of_a_text_llm_is_timed_too(
        self, way: str, recorder: MemoryRecorder, config: Any, ended: list[LLMCall]
    ) -> None:
        sent: list[Sent] = []
        await _done(WAYS[way](StreamingText(sent=sent), config))
        [call], [truth] = ended, sent
        assert truth.before <= call.first_token <= truth.after

    async def test_the_first_token_of_a_call_without_langchain_is_timed_when_it_says_so(
        self, recorder: MemoryRecorder, ended: list[LLMCall]
    ) -> None:
        async with track_call("openai", "gpt-4o", recorder=recorder) as call:
            before = perf_counter()
            call.record_first_token()
            after = perf_counter()
            call.record_first_token()
        assert before <= ended[0].first_token <= after

    async def test_the_first_token_that_never_comes_has_no_time(
        self, recorder: MemoryRecorder, config: Any, ended: list[LLMCall]
    ) -> None:
        model = Silent(announcing=list(ANNOUNCING.values()), first=None, sent=[])
        _read(model.stream("x", config))
        assert [call.first_token for call in ended] == [0.0]
        assert not any("first_token" in s.name for s in recorder.samples())

    async def test_the_first_token_of_an_answer_that_does_not_stream_has_no_time(
        self, recorder: MemoryRecorder, config: Any, ended: list[LLMCall]
    ) -> None:
        _read(Chat(answers=[answer()]).stream("x", config))
        assert [call.first_token for call in ended] == [0.0]


class Silent(Streaming):
    """Announces for ever, in every shape that there is."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for message in self.announcing:
            text = message.model_copy(update={"content": ""})
            yield ChatGenerationChunk(message=text.model_copy(deep=True))


class TestEachFurtherToken:
    @pytest.mark.parametrize("way", WAYS)
    async def test_each_further_token_takes_its_share_of_the_time_after_the_first(
        self, way: str, recorder: MemoryRecorder, config: Any, ended: list[LLMCall]
    ) -> None:
        model = Streaming(announcing=[], first=FIRST["text"], sent=[], output_tokens=5)
        await _done(WAYS[way](model, config))
        [call] = ended
        further = recorder.histogram("llm_time_per_output_token_seconds")
        assert further.count == 1
        assert further.sum == (call.ended - call.first_token) / 4

    async def test_each_further_token_has_no_time_where_the_provider_did_not_count(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        _read(Uncounted(announcing=[], first=None, sent=[]).stream("x", config))
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1
        assert not any("per_output_token" in s.name for s in recorder.samples())


class Uncounted(Streaming):
    """Streams words and no usage."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for word in ("a", "b"):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


class TestTheClock:
    """Of a machine may be set back while calls are open: nothing that we time reads it."""

    @pytest.fixture
    def clock_set_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A day earlier at every look."""
        now = time.time()
        days = itertools.count()
        monkeypatch.setattr(time, "time", lambda: now - 86_400 * next(days))
        monkeypatch.setattr(time, "time_ns", lambda: int((now - 86_400 * next(days)) * 1e9))

    async def test_a_clock_set_back_changes_no_latency(
        self,
        clock_set_back: None,
        recorder: MemoryRecorder,
        config: Any,
        ended: list[LLMCall],
    ) -> None:
        began = perf_counter()
        for way in ("stream", "astream", "invoke of a streaming model"):
            model = Streaming(announcing=[], first=FIRST["text"], sent=[])
            await _done(WAYS[way](model, config))
        Chat(answers=[answer()]).invoke("x", config)
        with track_call("openai", "gpt-4o", recorder=recorder):
            pass
        elapsed = perf_counter() - began
        assert len(ended) == 5
        for name in (
            "llm_latency_seconds",
            "llm_api_latency_seconds",
            "llm_time_to_first_token_seconds",
            "llm_time_per_output_token_seconds",
        ):
            assert 0 < recorder.histogram(name).sum < elapsed, name

    async def test_a_clock_set_back_changes_no_time_of_tools_and_agents(
        self, clock_set_back: None, recorder: MemoryRecorder, config: Any
    ) -> None:
        began = perf_counter()
        model = Streaming(announcing=[], first=FIRST["text"], sent=[])
        create_agent(model, name="writer").stream_events(TASK, config, version="v3").output
        handler, run_id = config["callbacks"][0], uuid.uuid4()
        handler.on_tool_start({"name": "add"}, "", run_id=run_id)
        handler.on_tool_end("", run_id=run_id)
        elapsed = perf_counter() - began
        for name in ("agent_run_duration_seconds", "tool_execution_duration_seconds"):
            assert 0 < recorder.histogram(name).sum < elapsed, name

    async def test_a_clock_set_back_does_not_end_calls_that_are_open(
        self, clock_set_back: None, recorder: MemoryRecorder
    ) -> None:
        with track_call("openai", "gpt-4o", recorder=recorder):
            assert recorder.value("llm_active_calls") == 1
            assert recorder.value("llm_calls_total") == 0
