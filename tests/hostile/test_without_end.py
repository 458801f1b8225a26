"""Lists and mappings of a program's own class that say they never end are looked at to an end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from langchain_core.runnables.config import var_child_runnable_config
from openai import OpenAI

from agentmetrics import MemoryRecorder, MetricsCallbackHandler, track_call, wrap
from agentmetrics.pipeline import Options, pipeline_of

MESSAGE = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}


class NoEnd(dict[str, Any]):
    def items(self) -> Any:
        return repeat(("audio_tokens", 0))

    def keys(self) -> Any:
        return repeat("audio_tokens")

    __iter__ = keys


class NoEndAsAList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return repeat({"id": "1"})


class NoEndByNumber:
    """Python goes through it by position, as long as none is out of range."""

    def keys(self) -> Any:
        return self

    def __getitem__(self, _: object) -> str:
        return "agent_name"


@pytest.fixture
def recorder() -> MemoryRecorder:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    return recorder


@pytest.mark.parametrize(
    "response",
    [
        MESSAGE | {"choices": NoEndAsAList([{"finish_reason": "stop"}])},
        {"usage": MESSAGE["usage"] | {"prompt_tokens_details": NoEnd()}},
        NoEndAsAList([{"id": "1"}, {"id": "1", **MESSAGE, "choices": []}]),
        {"ResponseMetadata": {"HTTPHeaders": {}}, "body": NoEnd(MESSAGE)},
    ],
    ids=["choices", "details of tokens", "events", "a body of Bedrock's"],
)
def test_a_response_without_end_has_the_tokens_that_it_tells(
    recorder: MemoryRecorder, response: Any
) -> None:
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_response(response)
    assert recorder.value("llm_tokens_total", token_type="input") == 3
    assert recorder.value("llm_tokens_total", token_type="output") == 2


@pytest.mark.parametrize("metadata", [NoEnd(tenant="acme"), NoEndByNumber()])
def test_metadata_without_end_around_a_call_is_looked_at_to_an_end(
    recorder: MemoryRecorder, metadata: Any
) -> None:
    token = var_child_runnable_config.set({"metadata": metadata})
    try:
        with track_call("openai", "gpt-4o", recorder=recorder):
            pass
    finally:
        var_child_runnable_config.reset(token)
    assert recorder.value("llm_calls_total") == 1
    assert recorder.value("llm_active_calls") == 0


@pytest.mark.parametrize("event", ["on_chat_model_start", "on_tool_start", "on_retriever_start"])
def test_an_event_with_metadata_without_end_is_recorded(
    recorder: MemoryRecorder, event: str
) -> None:
    handler, run_id = MetricsCallbackHandler(recorder, agent_name="planner"), uuid.uuid4()
    getattr(handler, event)(NoEnd(), [[]], run_id=run_id, metadata=NoEnd(), tags=NoEndAsAList())
    end = {"on_chat_model_start": handler.on_llm_error, "on_tool_start": handler.on_tool_error}
    end.get(event, handler.on_retriever_error)(ValueError(), run_id=run_id)
    names = ("llm_calls_total", "tool_executions_total", "retriever_queries_total")
    known = {sample.name for sample in recorder.samples()}
    assert sum(recorder.value(name) for name in names if name in known) == 1


def test_a_raw_answer_with_a_header_without_end_is_handed_on(recorder: MemoryRecorder) -> None:
    def read_in_pieces(size: int | None = None) -> Iterator[bytes]:
        return iter((b"{}",))

    http = SimpleNamespace(is_closed=False, headers={"content-type": NoEndByNumber()})
    http.iter_bytes = http.aiter_bytes = read_in_pieces
    answer = SimpleNamespace(http_response=http)
    client: Any = OpenAI(api_key="none")
    client.request = lambda *_, **__: answer
    wrap(client, recorder=recorder)
    assert client.chat.completions.with_raw_response.create(model="gpt-4o", messages=[]) is answer
    assert recorder.value("llm_calls_total") + recorder.value("llm_active_calls") == 1


def test_the_stream_of_an_answer_without_end_is_handed_on(recorder: MemoryRecorder) -> None:
    class Answer(NoEndByNumber):
        stream = iter(())

        def get(self, name: str, otherwise: object = None) -> Any:
            return getattr(self, name, otherwise)

    client: Any = boto3.client("bedrock-runtime", region_name="us-east-1")
    answer = Answer()
    client.converse_stream = lambda **_: answer
    wrap(client, recorder=recorder)
    assert client.converse_stream(modelId="m", messages=[]) is answer
    assert recorder.value("llm_calls_total") + recorder.value("llm_active_calls") == 1
