"""Wrapped clients: what is recorded of an SDK's calls is what the server counted."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import boto3
import cohere
import httpx2
import ollama
import openai
import pytest
from google import genai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from mistralai.client import Mistral
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    InstrumentedEmbeddings,
    MemoryRecorder,
    MetricsCallbackHandler,
    track_call,
    track_run,
    wrap,
)
from tests.services.embeddings_wire import EmbeddingsWire
from tests.services.wire import NO_KEY, Answer, Refusal, Wire, serving

GPT, CLAUDE = "gpt-4o", "claude-haiku-4-5"
HELLO: Any = [{"role": "user", "content": "hello"}]
WITH_USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}
TOOL: Any = {"type": "function", "function": {"name": "search", "parameters": {}}}
KEY = "none"


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


# One connection pool for all of a test's clients: certificates take long to read.


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(verify=False) as client:
        yield client


def gpt(wire: Wire, http: httpx2.Client, **options: Any) -> openai.OpenAI:
    url = f"{wire.url}/v1"
    return openai.OpenAI(
        api_key=KEY, base_url=url, http_client=http, **{"max_retries": 0, **options}
    )


def async_gpt(wire: Wire, **options: Any) -> openai.AsyncOpenAI:
    http = httpx2.AsyncClient(verify=False)
    url = f"{wire.url}/v1"
    return openai.AsyncOpenAI(api_key=KEY, base_url=url, http_client=http, max_retries=0)


def claude(wire: Wire, http: httpx2.Client) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=KEY, base_url=wire.url, http_client=http, max_retries=0)


def statuses(recorder: MemoryRecorder, **labels: str) -> dict[str, int]:
    """Calls by status, of those that were made."""
    found: Counter[str] = Counter()
    for name, said, value in recorder.samples():
        if name == "llm_calls_total" and said.items() >= labels.items():
            found[said["status"]] += int(value)
    return dict(+found)


def errors(recorder: MemoryRecorder) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name, said, value in recorder.samples():
        if name == "llm_errors_total":
            found[said["error_type"]] += int(value)
    return dict(+found)


def assert_exact(recorder: MemoryRecorder, wire: Wire) -> None:
    """The tokens that the wire billed, no call open, and nothing not understood."""
    billed = wire.having(ended="success")
    for kind in ("input", "output"):
        expected = sum(getattr(call, f"{kind}_tokens") for call in billed)
        assert recorder.value("llm_tokens_total", token_type=kind) == expected
    assert recorder.value("llm_active_calls") == 0
    assert recorder.value("agentmetrics_handler_errors_total") == 0


class TestEveryWayToAsk:
    def test_answers_streams_helpers_and_raw_responses_of_openai(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        chat = client.chat.completions
        chat.create(model=GPT, messages=HELLO)
        chat.create(model=GPT, messages=HELLO, tools=[TOOL])
        chunks = list(chat.create(model=GPT, messages=HELLO, **WITH_USAGE))
        with chat.stream(model=GPT, messages=HELLO, stream_options={"include_usage": True}) as s:
            text = s.get_final_completion().choices[0].message.content
        chat.with_raw_response.create(model=GPT, messages=HELLO).parse()
        assert list(chat.with_raw_response.create(model=GPT, messages=HELLO, **WITH_USAGE).parse())
        with chat.with_streaming_response.create(model=GPT, messages=HELLO) as response:
            assert response.json()["choices"]  # type: ignore[index]
        with chat.with_streaming_response.create(model=GPT, messages=HELLO, **WITH_USAGE) as raw:
            assert list(raw.parse())
        with chat.with_streaming_response.create(model=GPT, messages=HELLO, **WITH_USAGE) as raw:
            assert b"[DONE]" in b"".join(raw.iter_bytes())
        client.with_options(timeout=9).chat.completions.create(model=GPT, messages=HELLO)
        client.copy().beta.chat.completions.parse(model=GPT, messages=HELLO)
        client.post("/chat/completions", body={"model": GPT, "messages": HELLO}, cast_to=object)
        assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == f"{text}"
        assert statuses(recorder, provider="openai", model=GPT) == {"success": 12}
        assert wire.count() == 12
        assert_exact(recorder, wire)

    def test_answers_streams_and_helpers_of_anthropic(self, wire, http, recorder):
        client = wrap(claude(wire, http), recorder=recorder)
        asked: Any = {"model": CLAUDE, "max_tokens": 9, "messages": HELLO}
        wire.script(CLAUDE, Answer(cache_read=5, cache_creation=7))
        client.messages.create(**asked)
        assert list(client.messages.create(**asked, stream=True))
        with client.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream).strip()
        with client.messages.stream(**asked) as stream:
            stream.get_final_message()
        client.beta.messages.create(**asked)
        client.messages.with_raw_response.create(**asked).parse()
        assert statuses(recorder, provider="anthropic", model=CLAUDE) == {"success": 6}
        assert recorder.value("llm_token_details_total", token_detail="cache_read") == 5
        assert_exact(recorder, wire)

    def test_async_clients(self, wire, recorder):
        async def main() -> None:
            async with wrap(async_gpt(wire), recorder=recorder) as client:
                chat = client.chat.completions
                await asyncio.gather(*(chat.create(model=GPT, messages=HELLO) for _ in range(5)))
                async for _ in await chat.create(model=GPT, messages=HELLO, **WITH_USAGE):
                    pass
                async with chat.stream(
                    model=GPT, messages=HELLO, stream_options={"include_usage": True}
                ) as stream:
                    await stream.get_final_completion()
                async with chat.with_streaming_response.create(
                    model=GPT, messages=HELLO, **WITH_USAGE
                ) as raw:
                    async for _ in await raw.parse():
                        pass
                await chat.with_raw_response.create(model=GPT, messages=HELLO)

        asyncio.run(main())
        assert statuses(recorder) == {"success": 9}
        assert_exact(recorder, wire)

    def test_requests_to_others_than_models_are_no_calls(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        with pytest.raises(openai.NotFoundError):
            client.models.list()
        with pytest.raises(openai.NotFoundError):
            client.post("/batches", body={}, cast_to=object)
        assert statuses(recorder) == {}

    def test_the_object_stays_what_it_was(self, wire, http, recorder):
        client = gpt(wire, http)
        assert wrap(client, recorder=recorder) is client
        assert isinstance(client, openai.OpenAI)
        stream = client.chat.completions.create(model=GPT, messages=HELLO, **WITH_USAGE)
        assert isinstance(stream, openai.Stream)
        assert stream.response.status_code == 200
        assert isinstance(next(stream), openai.types.chat.ChatCompletionChunk)
        assert openai.OpenAI.request is type(client).request  # nothing global

    def test_a_stream_that_tells_no_tokens_is_warned_of_by_its_class(
        self, wire, http, recorder, caplog
    ):
        client = wrap(gpt(wire, http), recorder=recorder)
        list(client.chat.completions.create(model=GPT, messages=HELLO, stream=True))
        assert "no token counts in Stream from openai (gpt-4o)" in caplog.text
        assert "stream_options={'include_usage': True}" in caplog.text
        assert recorder.value("llm_unmetered_calls_total") == 1

    def test_the_first_token_is_timed(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        list(client.chat.completions.create(model=GPT, messages=HELLO, **WITH_USAGE))
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1


class TestWaysToEnd:
    @pytest.mark.parametrize(
        ("status", "error_type"),
        [
            (400, "invalid_request"),
            (401, "authentication"),
            (403, "authentication"),
            (404, "invalid_request"),
            (429, "rate_limit"),
            (500, "server_error"),
            (503, "server_error"),
        ],
    )
    def test_an_error_has_its_type_and_is_the_sdks_own(
        self, status, error_type, wire, http, recorder
    ):
        for client, model, ask in (
            (gpt(wire, http), GPT, lambda c, m: c.chat.completions.create(**m)),
            (claude(wire, http), CLAUDE, lambda c, m: c.messages.create(**m, max_tokens=9)),
        ):
            wrap(client, recorder=recorder)
            wire.script(model, Refusal(status))
            with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as raised:
                ask(client, {"model": model, "messages": HELLO})
            assert getattr(raised.value, "status_code", None) == status
        assert errors(recorder) == {error_type: 2}
        assert statuses(recorder) == {"error": 2}
        assert_exact(recorder, wire)

    def test_retries_of_the_sdk_are_one_call(self, wire, http, recorder):
        client = wrap(gpt(wire, http, max_retries=2), recorder=recorder)
        wire.script(GPT, Refusal(429), Refusal(500), Answer())
        client.chat.completions.create(model=GPT, messages=HELLO)
        assert wire.count() == 3
        assert statuses(recorder) == {"success": 1}
        assert_exact(recorder, wire)

    def test_a_connection_that_breaks_in_a_stream(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        wire.script(GPT, Answer(breaks=True))
        stream = client.chat.completions.create(model=GPT, messages=HELLO, **WITH_USAGE)
        with pytest.raises(openai.APIConnectionError):
            list(stream)
        assert errors(recorder) == {"connection": 1}

    def test_a_stream_that_is_closed_early_is_cancelled_then(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        with client.chat.completions.create(model=GPT, messages=HELLO, **WITH_USAGE) as stream:
            next(stream)
            assert recorder.value("llm_active_calls") == 1
        assert statuses(recorder) == {"cancelled": 1}
        stream.close()
        assert statuses(recorder) == {"cancelled": 1}

    @pytest.mark.parametrize("reads", [0, 1])
    def test_a_stream_that_is_dropped_is_cancelled(self, reads, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        stream = client.chat.completions.create(model=GPT, messages=HELLO, **WITH_USAGE)
        for _ in range(reads):
            next(stream)
        stream.response.close()
        del stream
        gc.collect()
        assert statuses(recorder) == {"cancelled": 1}
        assert recorder.value("llm_active_calls") == 0

    def test_a_stream_that_is_read_twice_is_one_call(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        stream = client.chat.completions.create(model=GPT, messages=HELLO, **WITH_USAGE)
        assert list(stream)
        assert list(stream) == []
        assert statuses(recorder) == {"success": 1}
        assert_exact(recorder, wire)

    def test_a_task_that_is_cancelled(self, wire, recorder):
        wire.script(GPT, Answer(hangs=True))

        async def main() -> None:
            async with wrap(async_gpt(wire), recorder=recorder) as client:
                task = asyncio.ensure_future(
                    client.chat.completions.create(model=GPT, messages=HELLO)
                )
                while not wire.hanging["unknown"]:
                    await asyncio.sleep(0.005)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        assert statuses(recorder) == {"cancelled": 1}

    def test_a_closed_client_fails_as_it_does_by_itself(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        client.close()
        with pytest.raises(Exception, match=r"closed|Connection error"):
            client.chat.completions.create(model=GPT, messages=HELLO)
        assert statuses(recorder) == {"error": 1}


class TestWhoseCallsTheyAre:
    def test_the_agent_is_the_one_around_or_the_one_named(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        with track_run("reviewer", recorder=recorder):
            client.chat.completions.create(model=GPT, messages=HELLO)
            client.with_options(timeout=9).chat.completions.create(model=GPT, messages=HELLO)
        named = wrap(gpt(wire, http), agent_name="writer", recorder=recorder)
        named.chat.completions.create(model=GPT, messages=HELLO)
        assert statuses(recorder, agent_name="reviewer") == {"success": 2}
        assert statuses(recorder, agent_name="writer") == {"success": 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="reviewer").sum == 2

    def test_a_budget_refuses_before_a_request_is_made(self, wire, http, recorder):
        Budgets([Budget("daily", limit_usd=0.000001, action="block")], recorder)
        client = wrap(gpt(wire, http), recorder=recorder)
        client.chat.completions.create(model=GPT, messages=HELLO)
        for stream in (False, True):
            with pytest.raises(BudgetExceeded):
                client.chat.completions.create(model=GPT, messages=HELLO, stream=stream)
        assert wire.count() == 1
        assert statuses(recorder) == {"success": 1}

    def test_a_client_that_is_wrapped_twice_counts_once(self, wire, http, recorder):
        client = wrap(wrap(gpt(wire, http), recorder=recorder), recorder=recorder)
        wrap(client.with_options(timeout=9), recorder=recorder)
        client.chat.completions.create(model=GPT, messages=HELLO)
        assert statuses(recorder) == {"success": 1}
        with pytest.raises(ValueError, match="wrapped already with another agent_name"):
            wrap(client, agent_name="other", recorder=recorder)

    def test_the_provider_is_whose_host_it_is_or_as_it_is_named(self, wire, http, recorder):
        wrap(gpt(wire, http), provider="deepseek", recorder=recorder).chat.completions.create(
            model="deepseek-chat", messages=HELLO
        )
        assert statuses(recorder, provider="deepseek") == {"success": 1}

    def test_a_call_that_a_handler_sees_too_counts_once(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        other = wrap(async_gpt(wire), recorder=recorder)
        model = ChatOpenAI(
            model=GPT,
            api_key=NO_KEY,
            stream_usage=True,
            client=client.chat.completions,
            root_client=client,
            async_client=other.chat.completions,
            root_async_client=other,
        )
        seen: Any = {"callbacks": [MetricsCallbackHandler(recorder, "chain")]}
        model.invoke("hello", seen)
        assert list(model.stream("hello", seen))
        model.batch(["hello", "there"], seen)

        async def main() -> None:
            await model.ainvoke("hello", seen)
            async for _ in model.astream("hello", seen):
                pass
            await model.abatch(["hello", "there"], seen)

        asyncio.run(main())
        assert statuses(recorder) == {"success": 8} == statuses(recorder, agent_name="chain")
        assert wire.count() == 8
        assert_exact(recorder, wire)

        model.invoke("hello")  # nobody but the client sees it
        client.chat.completions.create(model=GPT, messages=HELLO)
        assert statuses(recorder) == {"success": 10}
        assert_exact(recorder, wire)

    def test_a_call_that_a_streams_reader_makes_is_another_one(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        model = ChatOpenAI(
            model=GPT,
            api_key=NO_KEY,
            stream_usage=True,
            client=client.chat.completions,
            root_client=client,
        )
        for chunk in model.stream("hello", {"callbacks": [MetricsCallbackHandler(recorder)]}):
            if chunk.content == "answer ":
                client.chat.completions.create(model=GPT, messages=HELLO)
        assert wire.count() == 2
        assert statuses(recorder) == {"success": 2}
        assert_exact(recorder, wire)

    def test_a_call_inside_of_track_call_is_that_one(self, wire, http, recorder):
        client = wrap(gpt(wire, http), recorder=recorder)
        with track_call("openai", GPT, recorder=recorder) as call:
            call.record_response(client.chat.completions.create(model=GPT, messages=HELLO))
        client.chat.completions.create(model=GPT, messages=HELLO)
        assert statuses(recorder) == {"success": 2}
        assert_exact(recorder, wire)


class TestWhatCannotBeWrapped:
    @pytest.mark.parametrize(
        ("thing", "name"),
        [
            (object(), "builtins.object"),
            (openai.OpenAI, "the class openai.OpenAI"),
            (None, "builtins.NoneType"),
        ],
    )
    def test_is_named_with_what_can_be_and_what_to_do(self, thing, name):
        with pytest.raises(
            TypeError, match=r"wrap\(\) takes a client of OpenAI, .*track_call\(\)"
        ) as e:
            wrap(thing)
        assert name in str(e.value)

    def test_a_part_of_a_client_is_none(self, wire, http):
        with pytest.raises(TypeError, match=r"chat\.completions"):
            wrap(gpt(wire, http).chat.completions)

    def test_boto3s_other_services(self):
        client = boto3.client(
            "sqs", region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=KEY
        )
        with pytest.raises(TypeError, match="bedrock-runtime, not of sqs"):
            wrap(client)

    def test_a_method_that_a_version_has_not_got_is_logged_and_the_rest_works(
        self, wire, recorder, caplog
    ):
        class Older(ollama.Client):
            embed = None  # type: ignore[assignment]

        with caplog.at_level(logging.WARNING, "agentmetrics"):
            client = wrap(Older(wire.url, verify=False), recorder=recorder)
        (said,) = caplog.messages
        assert said.endswith("has no method embed in this version: calls of it are not recorded")
        with client, pytest.raises(ollama.ResponseError):
            client.chat(GPT, HELLO)
        assert statuses(recorder, provider="ollama") == {"error": 1}


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
class TestEmbeddings:
    def test_of_every_sdk_by_its_provider(self, embeddings_wire: EmbeddingsWire, http, recorder):
        url = embeddings_wire.url
        gpt = openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", http_client=http)
        wrap(gpt, recorder=recorder).embeddings.create(model="text-embedding-3-small", input="a")
        mistral = Mistral(api_key=KEY, server_url=f"{url}/mistral", client=http)
        wrap(mistral, recorder=recorder).embeddings.create(model="mistral-embed", inputs=["a"])
        local = wrap(ollama.Client(url, verify=False), recorder=recorder)
        local.embed("nomic-embed-text", "a")
        words = wrap(cohere.ClientV2(KEY, base_url=url), recorder=recorder)
        words.rerank(model="rerank-v3.5", query="a", documents=["b", "c"], top_n=1)
        gemini = genai.Client(api_key=KEY, http_options={"base_url": url})
        wrap(gemini, recorder=recorder).models.embed_content(
            model="gemini-embedding-001", contents="a"
        )
        assert sum(embeddings_wire.counted().values()) == 5
        assert statuses(recorder) == {"success": 5}
        billed = sum(embeddings_wire.tokens().values())
        assert recorder.value("llm_tokens_total", token_type="input") == billed
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_batches_in_threads_are_a_call_each_of_the_agent_around(
        self, embeddings_wire: EmbeddingsWire, recorder
    ):
        client = wrap(cohere.Client(KEY, base_url=embeddings_wire.url), recorder=recorder)
        with track_run("indexer", recorder=recorder):
            client.embed(texts=["a"] * 200, model="embed-english-v3.0", input_type="search_query")
        asked = sum(embeddings_wire.counted().values())
        assert asked == 3  # of 96 texts at most
        assert statuses(recorder, agent_name="indexer") == {"success": asked}

    def test_instrumented_embeddings_on_a_wrapped_client_count_once(
        self, embeddings_wire: EmbeddingsWire, http, recorder
    ):
        url = f"{embeddings_wire.url}/v1"
        client = wrap(openai.OpenAI(api_key=KEY, base_url=url, http_client=http), recorder=recorder)
        model = "text-embedding-3-small"
        plain = OpenAIEmbeddings(
            model=model, api_key=NO_KEY, base_url=url, check_embedding_ctx_length=False
        )
        plain.client = client.embeddings
        InstrumentedEmbeddings(plain, recorder=recorder).embed_documents(["a", "b"])
        assert statuses(recorder) == {"success": 1}
        plain.embed_documents(["a", "b"])
        assert statuses(recorder) == {"success": 2}


class TestGemini:
    """https://ai.google.dev/gemini-api/docs/function-calling"""

    @staticmethod
    def answer(part: dict[str, Any], tokens: int) -> JSONResponse:
        content = {"role": "model", "parts": [part]}
        usage = {"promptTokenCount": tokens, "candidatesTokenCount": 1, "totalTokenCount": tokens}
        return JSONResponse(
            {
                "candidates": [{"content": content, "finishReason": "STOP"}],
                "usageMetadata": usage,
                "modelVersion": "gemini-2.5-flash",
            }
        )

    def test_a_method_that_calls_functions_makes_a_call_for_each_request(self, recorder):
        called = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}}
        answers = [self.answer(called, 10), self.answer({"text": "sunny"}, 20)]

        async def answer(request: Request) -> JSONResponse:
            return answers.pop(0)

        def weather(city: str) -> str:
            """The weather of a city."""
            return f"sunny in {city}"

        app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
        with serving(app) as url:
            options: Any = {"base_url": url, "client_args": {"verify": False}}
            client = wrap(genai.Client(api_key=KEY, http_options=options), recorder=recorder)
            chat = client.chats.create(model="gemini-2.5-flash", config={"tools": [weather]})
            assert chat.send_message("What is it like in Paris?").text == "sunny"
            client.close()
        assert answers == []
        assert statuses(recorder, provider="google_genai", model="gemini-2.5-flash") == {
            "success": 2
        }
        assert recorder.value("llm_tokens_total", token_type="input") == 30
        assert recorder.value("llm_finish_reasons_total", finish_reason="tool_calls") == 1


def test_the_snippet_of_the_page(wire, agent_metrics, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{wire.url}/v1")
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(snippet, namespace)
    namespace["client"].close()
    assert statuses(agent_metrics, provider="openai", model="gpt-4o-mini") == {"success": 1}
    assert_exact(agent_metrics, wire)
