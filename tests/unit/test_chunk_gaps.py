"""The longest gap between two chunks of a stream, which shows one that stalls."""

from __future__ import annotations

import gc
import uuid
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from agentmetrics import MetricsCallbackHandler, track_call
from tests.unit.scripted import StreamingChat, answer


class Stream:
    """A streamed call whose chunks come when a test says."""

    def __init__(self, clock) -> None:
        self.clock, self.handler, self.run_id = clock, MetricsCallbackHandler(), uuid.uuid4()
        self.handler.on_chat_model_start({}, [[]], run_id=self.run_id)

    def chunk(self, after: float, text: str = "a") -> None:
        self.clock.now += after
        generation = ChatGenerationChunk(message=AIMessageChunk(content=text))
        self.handler.on_llm_new_token(text, chunk=generation, run_id=self.run_id)

    def event(self, after: float) -> None:
        self.clock.now += after
        block = {"type": "text-delta", "text": "a"}
        event = {"event": "content-block-delta", "index": 0, "delta": block}
        self.handler.on_stream_event(event, run_id=self.run_id)

    def end(self, after: float = 0.0) -> None:
        self.clock.now += after
        result = LLMResult(generations=[[ChatGeneration(message=answer())]])
        self.handler.on_llm_end(result, run_id=self.run_id)


@pytest.fixture
def stream(recorder, clock):
    clock.now = 1000.0
    return Stream(clock)


@pytest.fixture
def gaps(recorder):
    """How many were observed, and their sum in seconds."""

    def gaps() -> tuple[int, Any]:
        found = recorder.histogram("llm_time_between_chunks_seconds")
        return found.count, pytest.approx(found.sum)

    return gaps


class TestAStream:
    def test_a_stream_has_the_longest_of_its_gaps_once(self, stream, gaps):
        for after in (3.0, 0.1, 0.7, 0.2):  # the first is no gap: it is the time to the first token
            stream.chunk(after)
        stream.end(5.0)
        assert gaps() == (1, 0.7)

    def test_a_stream_of_events_has_it_too(self, stream, gaps):
        for after in (3.0, 0.1, 0.7):
            stream.event(after)
        stream.end()
        assert gaps() == (1, 0.7)

    def test_a_stream_counts_chunks_that_carry_nothing_as_signs_of_life(self, stream, gaps):
        stream.chunk(3.0)
        stream.chunk(0.4, "")
        stream.chunk(0.4)
        stream.end()
        assert gaps() == (1, 0.4)

    def test_a_stream_of_one_chunk_has_no_gap(self, stream, gaps):
        stream.chunk(3.0)
        stream.end(2.0)
        assert gaps() == (0, 0.0)

    def test_a_stream_that_fails_has_the_silence_before_it_failed(self, stream, gaps):
        stream.chunk(3.0)
        stream.chunk(0.1)
        stream.clock.now += 30.0
        stream.handler.on_llm_error(TimeoutError(), run_id=stream.run_id)
        assert gaps() == (1, 30.0)

    def test_a_stream_that_is_abandoned_has_the_silence_before(self, stream, gaps):
        stream.chunk(3.0)
        stream.clock.now += 30.0
        stream.run_id = None
        gc.collect()
        assert gaps() == (1, 30.0)

    def test_a_stream_through_langchain_has_one_observation(self, recorder, config, gaps):
        list(StreamingChat(answers=[answer("abc")]).stream("x", config))
        assert gaps()[0] == 1


def test_a_call_that_is_not_streamed_has_no_gap(recorder, gaps):
    with track_call("openai", "gpt-4o") as call:
        call.record_first_token()
        call.record_usage(10, 5)
    assert gaps() == (0, 0.0)
