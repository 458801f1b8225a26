"""Calls whose tokens nobody reported: counted as such, and each kind of response logged once."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from agentmetrics import (
    InstrumentedEmbeddings,
    MemoryRecorder,
    MetricsCallbackHandler,
    track_call,
)
from agentmetrics.calls.facts import LLMCall
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.providers.usage import Usage
from tests.unit.scripted import Chat, StreamingChat, Text, answer, by
from tests.unit.test_embeddings import Own

COUNTED = "such calls are recorded without tokens and cost"
FROM = f"from openai (gpt-4o): {COUNTED}"
OF_THE_USER = "pass the response to record_response(), or the tokens to record_usage()"
OF_A_MODEL = (
    "set usage_metadata on the model's messages, or record such calls with track_call() and "
    "record_usage()"
)
OF_A_STREAM = (
    "request usage in the stream (of OpenAI with stream_options={'include_usage': True}), or pass "
    "the tokens to record_usage()"
)
OF_VECTORS = "if they are billed by token, record them with track_call() and record_usage()"


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def config(recorder: MemoryRecorder) -> Any:
    return {"callbacks": [MetricsCallbackHandler(recorder, "planner")]}


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Any:
    """Gives the messages that were logged."""
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


def unmetered(recorder: MemoryRecorder) -> dict[Any, float]:
    return by(recorder, "llm_unmetered_calls_total", "agent_name", "provider", "model")


class ChatCompletion:
    """A response that nothing is known of."""


class Chunk:
    """A part of one."""


class TestTheCount:
    def test_a_call_without_usage_is_counted_and_neither_priced_nor_unpriced(self, recorder):
        with track_call("openai", "gpt-4o", agent_name="planner", recorder=recorder):
            pass
        assert unmetered(recorder) == {("planner", "openai", "gpt-4o"): 1}
        assert recorder.value("llm_unpriced_calls_total") == 0
        assert recorder.value("llm_cost_usd_total") == 0

    def test_usage_that_says_nothing_is_no_usage(self, recorder, logged):
        with track_call("openai", "gpt-4o", agent_name="planner", recorder=recorder) as call:
            call.record_usage()
        assert unmetered(recorder) == {("planner", "openai", "gpt-4o"): 1}
        assert recorder.value("llm_unpriced_calls_total") == 0
        assert logged() == [f"no token counts {FROM}; {OF_THE_USER}"]

    def test_usage_of_one_way_is_usage(self, recorder, logged):
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_usage(output_tokens=5)
        assert unmetered(recorder) == {}
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert logged() == []

    def test_a_call_that_fails_is_not_counted(self, recorder, logged):
        with pytest.raises(TimeoutError), track_call("openai", "gpt-4o", recorder=recorder):
            raise TimeoutError
        assert unmetered(recorder) == {}
        assert logged() == []

    def test_a_free_call_is_not_counted(self, recorder, logged):
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_usage(0, 0)
        assert unmetered(recorder) == {}
        assert logged() == []

    def test_an_unpriced_call_is_not_counted(self, recorder, logged):
        with track_call("openai", "a-model-of-mine", recorder=recorder) as call:
            call.record_usage(10, 5)
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert unmetered(recorder) == {}
        assert [said.partition(" for ")[0] for said in logged()] == ["no price found"]

    def test_it_has_the_extra_labels(self):
        recorder = MemoryRecorder()
        pipeline = pipeline_of(recorder, Options(extra_labels=("tenant",)))
        pipeline.finish(LLMCall("planner", "openai", "gpt-4o", 0.0, extra=("acme",)))
        assert recorder.value("llm_unmetered_calls_total", tenant="acme") == 1


class TestAResponseToTrackCall:
    def record(self, recorder, response, *, provider="openai", model="gpt-4o", streams=False):
        with track_call(provider, model, recorder=recorder) as call:
            if streams:
                call.record_first_token()
            call.record_response(response)

    def test_a_block_without_a_response_is_logged_once_for_its_provider(self, recorder, logged):
        for model in ("gpt-4o", "gpt-4o-mini", "gpt-4o"):
            with track_call("openai", model, recorder=recorder):
                pass
        assert logged() == [f"no token counts {FROM}; {OF_THE_USER}"]

    def test_a_response_is_logged_once_by_its_class_and_provider(self, recorder, logged):
        for model in ("gpt-4o", "gpt-4o-mini"):
            self.record(recorder, ChatCompletion(), model=model)
        self.record(recorder, ChatCompletion(), provider="azure")
        self.record(recorder, {"text": "a secret"})
        advice = "pass the tokens to record_usage()"
        assert logged() == [
            f"no token counts in ChatCompletion {FROM}; {advice}",
            f"no token counts in ChatCompletion from azure (gpt-4o): {COUNTED}; {advice}",
            f"no token counts in dict {FROM}; {advice}",
        ]

    def test_a_response_of_a_stream_is_logged_with_the_option_of_its_request(
        self, recorder, logged
    ):
        self.record(recorder, Chunk(), streams=True)
        assert logged() == [
            f"no token counts in Chunk {FROM}; {OF_A_STREAM}",
        ]

    def test_a_response_whose_tokens_are_recorded_afterwards_is_not_logged(self, recorder, logged):
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_response(ChatCompletion())
            call.record_usage(10, 5)
        assert logged() == []

    def test_a_class_of_a_hostile_name_stays_on_its_line(self, recorder, logged):
        self.record(recorder, type("a\n" * 1000, (), {})())
        (said,) = logged()
        assert "\n" not in said
        assert len(said) < 400


class TestAResponseToLangChain:
    def test_a_message_without_usage_is_logged_once_by_its_class_and_provider(
        self, recorder, config, logged
    ):
        for model in ("gpt-4o", "gpt-4o-mini"):
            Chat(model=model, answers=[answer(tokens=None)]).invoke("x", config=config)
        Chat(provider="azure", answers=[answer(tokens=None)]).invoke("x", config=config)
        assert logged() == [
            f"no token counts in AIMessage {FROM}; {OF_A_MODEL}",
            f"no token counts in AIMessage from azure (gpt-4o): {COUNTED}; {OF_A_MODEL}",
        ]
        assert recorder.value("llm_unmetered_calls_total") == 3

    def test_a_text_without_usage_is_logged_by_the_class_of_its_generation(self, config, logged):
        Text(model="instruct", output=None).invoke("x", config=config)
        assert logged() == [
            f"no token counts in Generation from openai (instruct): {COUNTED}; {OF_A_MODEL}"
        ]

    def test_a_stream_without_usage_is_logged_once_with_what_to_pass(self, config, logged):
        """A ``base_url`` of one's own sends no usage unless it is asked for."""
        for _ in range(3):
            for _ in StreamingChat(answers=[answer("abc", None)]).stream("x", config=config):
                pass
        assert logged() == [
            f"no token counts in AIMessageChunk {FROM}; pass stream_usage=True to the chat model"
        ]

    def test_a_stream_that_reports_tokens_is_not_logged(self, config, logged):
        for _ in StreamingChat(answers=[answer("abc", (10, 3))]).stream("x", config=config):
            pass
        assert logged() == []

    def test_a_message_whose_usage_cannot_be_is_logged_by_the_class_of_the_result(
        self, config, logged
    ):
        message = answer(tokens=(-1, -1))
        Chat(answers=[message]).invoke("x", config=config)
        assert logged() == [
            "could not fully record on_llm_end: ValueError",
            f"no token counts in LLMResult {FROM}; {OF_A_MODEL}",
        ]

    def test_vectors_without_usage_are_logged_once(self, recorder, logged):
        embeddings = InstrumentedEmbeddings(
            Own(), recorder=recorder, provider="openai", model="gpt-4o"
        )
        for _ in range(2):
            embeddings.embed_query("x")
        assert logged() == [f"no token counts in list {FROM}; {OF_VECTORS}"]


def test_a_source_of_a_plugin_is_logged_as_one_that_read_no_response(recorder, logged) -> None:
    pipeline_of(recorder).finish(LLMCall("planner", "openai", "gpt-4o", 0.0))
    assert logged() == [f"no token counts {FROM}; {OF_THE_USER}"]


def test_usage_is_empty_when_neither_way_was_reported() -> None:
    assert Usage().is_empty
    assert not Usage(0, None).is_empty
    assert not Usage(None, 0).is_empty
