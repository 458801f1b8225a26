"""Usage that the chunks of a stream tell: LangChain joins them, which is not always the bill."""

from __future__ import annotations

import gc
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from agentmetrics import MemoryRecorder, MetricsCallbackHandler

Pair = tuple[int, int]
SO_FAR = [(1000, 0), (1000, 1), (1000, 2), (1000, 3)]
IN_PARTS = [(8, 2), (0, 3), (0, 4)]


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


def message(tokens: Pair | None, package: str = "", text: str = "", **details: Any) -> Any:
    chunk = AIMessageChunk(content=text, response_metadata={"model_provider": package})
    if tokens is not None:
        block: Any = {"input_tokens": tokens[0], "output_tokens": tokens[1], **details}
        chunk.usage_metadata = block | {"total_tokens": sum(tokens)}
    return chunk


class Stream:
    """One streamed call, driven as LangChain drives it."""

    def __init__(self, recorder: MemoryRecorder, provider: str = "mine", handlers: int = 1) -> None:
        self.handlers = [MetricsCallbackHandler(recorder) for _ in range(handlers)]
        self.run_id = uuid4()
        self.joined: Any = None
        metadata = {"ls_provider": provider, "ls_model_name": "gpt-4o"}
        for handler in self.handlers:
            handler.on_chat_model_start({}, [[]], run_id=self.run_id, metadata=metadata)

    def send(self, *chunks: Any, seen: bool = True) -> Stream:
        for chunk in chunks:
            for handler in self.handlers if seen else ():
                generation = ChatGenerationChunk(message=chunk)
                handler.on_llm_new_token(chunk.content, chunk=generation, run_id=self.run_id)
            self.joined = chunk if self.joined is None else self.joined + chunk
        return self

    def end(self, joined: AIMessage | None = None) -> None:
        response = LLMResult(generations=[[ChatGeneration(message=joined or self.joined)]])
        for handler in self.handlers:
            handler.on_llm_end(response, run_id=self.run_id)


def tokens(recorder: MemoryRecorder) -> Pair:
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert recorder.value("llm_calls_total") == 1
    return (
        int(recorder.value("llm_tokens_total", token_type="input")),
        int(recorder.value("llm_tokens_total", token_type="output")),
    )


@pytest.mark.parametrize("package", ["openai", "groq", "mistralai", "somebody's", ""])
@pytest.mark.parametrize("first", range(len(SO_FAR)))
def test_a_stream_that_tells_its_usage_so_far_has_that_of_the_last(
    first: int, package: str, recorder: MemoryRecorder
) -> None:
    without: list[Any] = [message(None, package) for _ in SO_FAR[:first]]
    Stream(recorder).send(*without, *(message(told, package) for told in SO_FAR[first:])).end()
    assert tokens(recorder) == (1000, 3)


@pytest.mark.parametrize("provider", ["google_genai", "google_vertexai", "mine"])
def test_a_stream_that_tells_its_usage_in_parts_has_their_sum(
    provider: str, recorder: MemoryRecorder
) -> None:
    Stream(recorder, provider).send(*map(message, IN_PARTS)).end()
    assert tokens(recorder) == (8, 9)


def test_a_prompt_that_grows_in_parts_has_their_sum(recorder: MemoryRecorder) -> None:
    Stream(recorder, "google_genai").send(*map(message, [(8, 2), (120, 3), (0, 4)])).end()
    assert tokens(recorder) == (128, 9)


def test_a_stream_that_tells_the_prompt_first_and_the_output_so_far_later(
    recorder: MemoryRecorder,
) -> None:
    told = [(14, 1), (0, 5), (0, 9)]
    Stream(recorder).send(*(message(pair, "anthropic") for pair in told)).end()
    assert tokens(recorder) == (14, 9)


def test_a_last_chunk_of_zeros_says_nothing(recorder: MemoryRecorder) -> None:
    Stream(recorder).send(*(message(t, "openai") for t in [*SO_FAR, (0, 0)])).end()
    assert tokens(recorder) == (1000, 3)


def test_a_second_handler_changes_nothing(recorder: MemoryRecorder) -> None:
    Stream(recorder, handlers=2).send(*map(message, IN_PARTS)).end()
    assert tokens(recorder) == (8, 9)


def test_parts_of_which_a_package_hides_some_have_langchains_sum(recorder: MemoryRecorder) -> None:
    stream = Stream(recorder).send(message((8, 2))).send(message((0, 7)), seen=False)
    stream.end()
    assert tokens(recorder) == (8, 9)


def test_details_that_events_overwrite_have_their_sum(recorder: MemoryRecorder) -> None:
    chunks = [
        message(
            (8, 40), input_token_details={"cache_read": 6}, output_token_details={"reasoning": 40}
        ),
        message(
            (0, 3), input_token_details={"cache_read": 0}, output_token_details={"reasoning": 1}
        ),
    ]
    joined = message(
        (8, 43), input_token_details={"cache_read": 0}, output_token_details={"reasoning": 1}
    )
    Stream(recorder, "google_genai").send(*chunks).end(joined)
    assert tokens(recorder) == (8, 43)
    assert recorder.value("llm_token_details_total", token_detail="reasoning") == 41
    assert recorder.value("llm_token_details_total", token_detail="cache_read") == 6


@pytest.mark.parametrize(("told", "so_far"), [(SO_FAR, (1000, 3)), (IN_PARTS, (8, 9))])
def test_a_stream_that_is_abandoned_has_what_was_told_so_far(
    told: list[Pair], so_far: Pair, recorder: MemoryRecorder
) -> None:
    stream = Stream(recorder).send(*map(message, told))
    handler = stream.handlers[0]
    del stream  # and with it the run id, without any event
    gc.collect()
    handler.on_chain_start({}, {}, run_id=uuid4())  # whatever comes next ends it
    assert recorder.value("llm_active_calls") == 0
    assert tokens(recorder) == so_far
    assert recorder.value("llm_calls_total", status="cancelled") == 1


def test_a_stream_that_fails_has_what_was_told_so_far(recorder: MemoryRecorder) -> None:
    stream = Stream(recorder).send(*map(message, SO_FAR))
    partial = LLMResult(generations=[[ChatGeneration(message=stream.joined)]])
    stream.handlers[0].on_llm_error(ConnectionError(), run_id=stream.run_id, response=partial)
    assert tokens(recorder) == (1000, 3)
