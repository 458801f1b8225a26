"""What wrapped clients have in common: whose call it is, how much it can use, how it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agentmetrics import MemoryRecorder
from agentmetrics.calls.facts import Ceiling
from agentmetrics.pipeline import pipeline_of
from agentmetrics.sources.ceiling import ceiling_of_body
from agentmetrics.sources.wrap.hosts import provider_at
from agentmetrics.sources.wrap.methods import record, streamed, whole
from agentmetrics.sources.wrap.requests import Asked, Recording

HELLO = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1/", "openai"),
        ("https://eu.api.openai.com/v1/", "openai"),
        ("https://acme.openai.azure.com/openai/deployments/x/", "azure"),
        ("https://openrouter.ai/api/v1/", "openrouter"),
        ("https://api.x.ai/v1", "xai"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.perplexity.ai", "perplexity"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://us-central1-aiplatform.googleapis.com/v1", "google_vertexai"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "amazon_bedrock"),
        ("https://notopenrouter.ai/v1", "gateway"),
        ("https://openrouter.ai.example/v1", "gateway"),
        ("http://127.0.0.1:8000/v1", "gateway"),
        ("", "gateway"),
    ],
)
def test_the_provider_is_whose_host_it_is(url, provider):
    assert provider_at(url, "gateway") == provider


class TestTheMostThatARequestCanUse:
    @pytest.mark.parametrize(
        ("body", "output"),
        [
            ({"messages": HELLO, "max_tokens": 10}, 10),
            ({"messages": HELLO, "max_completion_tokens": 10, "n": 3}, 30),
            ({"input": "hello", "max_output_tokens": 10}, 10),
            ({"messages": HELLO, "options": {"num_predict": 10}}, 10),
            ({"messages": [{"content": [{"text": "a"}]}], "inferenceConfig": {"maxTokens": 9}}, 9),
            ({"contents": "hello", "config": {"max_output_tokens": 10}}, 10),
            ({"inputText": "hello", "textGenerationConfig": {"maxTokenCount": 10}}, 10),
        ],
    )
    def test_is_known_where_the_output_is_limited_and_all_input_is_text(self, body, output):
        ceiling = ceiling_of_body(body, speaks=True)
        assert ceiling is not None
        assert ceiling.output_tokens == output
        assert ceiling.input_tokens >= len("hello")

    @pytest.mark.parametrize(
        "body",
        [
            {"messages": HELLO},
            {"messages": [{"content": [{"type": "image_url"}]}], "max_tokens": 10},
            {"messages": [{"content": [{"image": {"source": {}}}]}], "max_tokens": 10},
            {"contents": [{"parts": [{"inline_data": {}}]}], "config": {"max_output_tokens": 9}},
            {"input": "a", "previous_response_id": "x", "max_output_tokens": 10},
            {"messages": HELLO, "max_tokens": 10, "tools": [{"type": "web_search"}]},
            {"messages": HELLO, "max_tokens": -1},
        ],
    )
    def test_is_not_known_otherwise(self, body):
        assert ceiling_of_body(body, speaks=True) is None

    def test_of_embeddings_is_their_input(self):
        ceiling = ceiling_of_body({"input": ["hello"] * 3}, speaks=False)
        assert ceiling is not None
        assert ceiling.output_tokens == 0
        assert ceiling.input_tokens >= 15


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def events_of(model: str) -> Iterator[Any]:
    yield {"choices": [{"index": 0, "delta": {"content": "a"}}], "model": model}
    yield {"choices": [], "model": model, "usage": USAGE}


class Client:
    """A client of no SDK, with a method of each kind."""

    def ask(self, model: str) -> Any:
        return {"model": model, "usage": USAGE}

    async def ask_async(self, model: str) -> Any:
        return {"model": model, "usage": USAGE}

    def stream(self, model: str) -> Iterator[Any]:
        yield from events_of(model)

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        for event in events_of(model):
            yield event

    def fail(self, model: str) -> Any:
        raise TimeoutError

    def events(self, model: str) -> Any:
        return Events(events_of(model))


class Events:
    """An SDK's stream."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.iterator = iterator
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self.iterator

    def close(self) -> None:
        self.closed += 1


def read(model: str) -> Asked | None:
    return Asked("acme", model)


class TestMethods:
    @pytest.fixture
    def recorder(self) -> MemoryRecorder:
        return MemoryRecorder()

    @pytest.fixture
    def client(self, recorder: MemoryRecorder) -> Client:
        client = Client()
        for name in ("ask", "ask_async", "stream", "stream_async", "fail"):
            record(client, name, Recording(None, None, recorder), read, whole)
        record(client, "events", Recording(None, None, recorder), read, streamed("iterator"))
        return client

    def test_each_kind_stays_what_it_is_and_is_recorded(self, client, recorder, anyio_backend):
        import anyio

        client.ask("gpt")
        assert len(list(client.stream("gpt"))) == 2
        assert len(list(client.events("gpt"))) == 2

        async def main() -> None:
            await client.ask_async("gpt")
            assert [event async for event in client.stream_async("gpt")]

        anyio.run(main, backend=anyio_backend)
        assert recorder.value("llm_calls_total", status="success", provider="acme") == 5
        assert recorder.value("llm_tokens_total") == 25
        assert recorder.value("llm_active_calls") == 0

    def test_the_class_and_other_objects_of_it_are_not(self, client, recorder):
        Client().ask("gpt")
        assert recorder.value("llm_calls_total") == 0

    def test_an_error_is_the_methods_own(self, client, recorder):
        with pytest.raises(TimeoutError):
            client.fail("gpt")
        assert recorder.value("llm_errors_total", error_type="timeout") == 1

    def test_a_generator_that_is_never_read_asks_nothing_and_is_no_call(self, client, recorder):
        client.stream("gpt")
        assert recorder.value("llm_active_calls") == 0
        assert recorder.value("llm_calls_total") == 0

    def test_a_stream_that_is_closed_is_cancelled_and_closed(self, client, recorder):
        events = client.events("gpt")
        next(iter(events))
        events.close()
        assert events.closed == 1
        assert recorder.value("llm_calls_total", status="cancelled") == 1

    def test_a_stream_that_is_dropped_is_cancelled_at_once(self, client, recorder):
        events = client.events("gpt")
        next(iter(events))
        del events
        recorder.samples()
        assert recorder.value("llm_calls_total", status="cancelled") == 1

    def test_arguments_that_are_not_understood_leave_the_call_to_the_sdk(self, client, recorder):
        with pytest.raises(TypeError, match="unexpected keyword"):
            client.ask(odd=1)
        assert recorder.value("agentmetrics_handler_errors_total", event="wrap") == 1
        assert recorder.value("llm_calls_total", status="error", provider="unknown") == 1

    def test_an_answer_that_cannot_be_followed_is_the_programs_all_the_same(self, recorder):
        def broken(request: Any, result: Any) -> Any:
            raise RuntimeError

        client: Any = Client()
        record(client, "ask", Recording(None, None, recorder), read, broken)
        assert client.ask("gpt")["model"] == "gpt"
        assert recorder.value("agentmetrics_handler_errors_total", event="wrap") == 1
        assert recorder.value("llm_calls_total", status="success") == 1

    def test_a_backend_that_fails_is_not_the_programs_concern(self, recorder, monkeypatch):
        client: Any = Client()
        record(client, "ask", Recording(None, None, recorder), read, whole)

        def fail(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(pipeline_of(recorder), "open_call", fail)
        assert client.ask("gpt")["model"] == "gpt"

    def test_what_is_sent_is_read_only_for_a_budget_that_reserves(self, recorder):
        def read(model: str) -> Asked:
            return Asked("acme", model, sent=lambda: pytest.fail("nobody asked"))

        client: Any = Client()
        record(client, "ask", Recording(None, None, recorder), read, whole)
        client.ask("gpt")
        assert recorder.value("llm_calls_total") == 1


def test_a_ceiling_is_that_of_objects_of_an_sdk_too():
    part = SimpleNamespace(model_dump=lambda **_: {"role": "user", "parts": [{"text": "hello"}]})
    body = {"contents": [part], "config": {"max_output_tokens": 5}}
    ceiling = ceiling_of_body(body, speaks=True)
    assert isinstance(ceiling, Ceiling)
    assert ceiling.output_tokens == 5
