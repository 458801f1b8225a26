"""Embeddings and rerankers of the provider packages over HTTP, beside what the wire counted."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage as Counted
from genai_prices import calc_price
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.tools import StructuredTool
from langchain_core.vectorstores import InMemoryVectorStore

from agentmetrics import (
    InstrumentedAgent,
    InstrumentedEmbeddings,
    InstrumentedReranker,
    MemoryRecorder,
    MetricsCallbackHandler,
)
from agentmetrics.calls.facts import LLMCall
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import pipeline_of
from tests.integration.apps import traffic
from tests.integration.apps.embedders import EMBEDDERS, RERANKERS, cohere, openai
from tests.integration.apps.graphs import followed
from tests.services.embeddings_wire import (
    BEDROCK_MILLISECONDS,
    OLLAMA_NANOSECONDS,
    SERVED,
    Answer,
    EmbeddingsWire,
    vector,
)
from tests.services.wire import ERROR, LEFT, SUCCESS, Refusal, Wire
from tests.services.wire import Answer as ChatAnswer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.asyncio_alone,
    # the cohere package's own, of its use of pydantic
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    # google-genai's own, of its use of aiohttp
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]

Made = Callable[..., InstrumentedEmbeddings]
Ask = Callable[..., Awaitable[Any]]
STATUS = {SUCCESS: "success", ERROR: "error", LEFT: "cancelled"}
PRICED_BY = {"amazon_bedrock": "aws", "google_genai": "google"}
"""genai-prices' names of providers, where they are others."""
DOCUMENTS = ["one", "two", "three"]
REQUESTS = dict.fromkeys(EMBEDDERS, 1) | {"bedrock": len(DOCUMENTS)}
"""Requests for ``DOCUMENTS``: Bedrock's models take one text at a time."""
SILENT = {"gemini"}
"""Those whose SDK has no place for tokens."""


@pytest.fixture(params=EMBEDDERS)
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(embeddings_wire: EmbeddingsWire, provider: str, recorder: MemoryRecorder) -> Made:
    """``make()`` is what the provider's package has, instrumented."""
    return lambda **options: InstrumentedEmbeddings(
        EMBEDDERS[provider](embeddings_wire), recorder=recorder, **options
    )


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """``await ask(obj, "name", …)`` calls ``obj.name`` in a thread, or ``obj.aname`` here."""

    async def in_a_thread(asked: Any, method: str, *args: Any) -> Any:
        return await asyncio.to_thread(getattr(asked, method), *args)

    async def here(asked: Any, method: str, *args: Any) -> Any:
        return await getattr(asked, f"a{method}")(*args)

    return in_a_thread if request.param == "sync" else here


def equals_the_wire(recorder: MemoryRecorder, wire: EmbeddingsWire) -> None:
    """Everything that can be compared with what the wire counted."""
    asked = {(p, model, STATUS[ended]): n for (p, model, ended), n in wire.counted().items()}
    assert by(recorder, "llm_calls_total", "provider", "model", "status") == asked
    tokens = wire.tokens()
    billed = {(p, model, "input"): n for (p, model), n in tokens.items()}
    assert by(recorder, "llm_tokens_total", "provider", "model", "token_type") == billed
    costs = by(recorder, "llm_cost_usd_total", "provider", "model")
    assert costs == pytest.approx(_prices(tokens), rel=1e-9)
    assert recorder.value("llm_unpriced_calls_total") == 0
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert recorder.value("llm_active_calls") == 0
    assert recorder.value("agentmetrics_open_runs") == 0


def _prices(tokens: Counter[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """What genai-prices says that these input tokens cost; Ollama's cost nothing."""
    return {
        (p, model): float(
            calc_price(
                Counted(input_tokens=n),
                SERVED.get(model, model),
                provider_id=PRICED_BY.get(p, p),
            ).total_price
        )
        for (p, model), n in tokens.items()
        if p != "ollama"
    }


def by(recorder: MemoryRecorder, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The values of a metric that are not 0, by these labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for sample in recorder.samples():
        if sample.name == name and sample.value:
            found[tuple(sample.labels[label] for label in labels)] += sample.value  # type: ignore
    return dict(found)


def ended(recorder: MemoryRecorder) -> list[LLMCall]:
    """The calls that end from now on."""
    found: list[LLMCall] = []
    pipeline_of(recorder).subscribe(found.append)
    return found


class TestEveryProvider:
    async def test_every_provider_is_counted_request_by_request(
        self,
        ask: Ask,
        embeddings_wire: EmbeddingsWire,
        provider: str,
        make: Made,
        recorder: MemoryRecorder,
    ) -> None:
        embeddings = make()
        vectors = await ask(embeddings, "embed_documents", DOCUMENTS)
        assert vectors == [vector(text) for text in DOCUMENTS]
        assert await ask(embeddings, "embed_query", "four") == vector("four")
        assert len(embeddings_wire.asked) == REQUESTS[provider] + 1
        equals_the_wire(recorder, embeddings_wire)
        assert bool(embeddings_wire.tokens()) == (provider not in SILENT)

    def test_every_provider_has_no_tokens_that_it_does_not_report(
        self, embeddings_wire: EmbeddingsWire, make: Made, recorder: MemoryRecorder
    ) -> None:
        embeddings_wire.script(Answer(silent=True))
        make().embed_query("x")
        equals_the_wire(recorder, embeddings_wire)
        assert recorder.value("llm_calls_total", status="success") == 1
        for name in ("llm_tokens_total", "llm_cost_usd_total", "llm_input_tokens_last_call"):
            assert recorder.value(name) == 0

    @pytest.mark.parametrize(
        ("status", "error_type"),
        [
            (400, "invalid_request"),
            (401, "authentication"),
            (429, "rate_limit"),
            (500, "server_error"),
        ],
    )
    async def test_every_providers_refusal_is_an_error_of_its_type(
        self,
        ask: Ask,
        status: int,
        error_type: str,
        embeddings_wire: EmbeddingsWire,
        provider: str,
        make: Made,
        recorder: MemoryRecorder,
    ) -> None:
        # Cohere's SDK asks three times by itself, which is one call.
        again = 2 if provider == "cohere" and status in (429, 500) else 0
        embeddings_wire.script(*[Refusal(status)] * (1 + again))
        embeddings = make()
        with pytest.raises(Exception, match=r"."):
            await ask(embeddings, "embed_query", "x")
        assert recorder.value("llm_errors_total", error_type=error_type) == 1
        assert recorder.value("llm_errors_total") == 1
        for _ in range(again):
            embeddings_wire.asked.pop()
        equals_the_wire(recorder, embeddings_wire)

    def test_every_providers_object_is_left_as_it_is(
        self, embeddings_wire: EmbeddingsWire, provider: str, recorder: MemoryRecorder
    ) -> None:
        own: Any = EMBEDDERS[provider](embeddings_wire)
        before = dict(vars(own)), dict(getattr(own, "__pydantic_private__", None) or {})
        InstrumentedEmbeddings(own, recorder=recorder).embed_query("x")
        assert (vars(own), dict(own.__pydantic_private__ or {})) == before
        own.embed_query("x")
        assert recorder.value("llm_calls_total") == 1
        assert len(embeddings_wire.asked) == 2

    def test_every_provider_is_counted_from_many_threads(
        self, embeddings_wire: EmbeddingsWire, provider: str, make: Made, recorder: MemoryRecorder
    ) -> None:
        embeddings = make()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: embeddings.embed_documents(DOCUMENTS), range(24)))
        assert len(embeddings_wire.asked) == 24 * REQUESTS[provider]
        equals_the_wire(recorder, embeddings_wire)


class TestACancelledTask:
    @pytest.mark.parametrize("provider", ["openai", "azure", "mistral", "ollama", "cohere"])
    async def test_a_cancelled_task_cancels_its_call_that_the_wire_has(
        self, embeddings_wire: EmbeddingsWire, make: Made, recorder: MemoryRecorder
    ) -> None:
        embeddings_wire.script(*[Answer(waits_for=threading.Event())] * 5)
        embeddings = make()
        tasks = [asyncio.create_task(embeddings.aembed_documents(DOCUMENTS)) for _ in range(5)]
        await traffic.until(lambda: embeddings_wire.open == 5)
        assert recorder.value("llm_active_calls") == 5
        while tasks:
            task = tasks.pop()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(embeddings_wire.settled)
        assert recorder.value("llm_calls_total", status="cancelled") == 5
        assert len(embeddings_wire.asked) == 5
        assert recorder.value("llm_active_calls") == 0
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    @pytest.mark.parametrize("provider", ["bedrock"])
    async def test_a_cancelled_task_does_not_end_a_request_in_a_thread_which_is_billed(
        self, embeddings_wire: EmbeddingsWire, make: Made, recorder: MemoryRecorder
    ) -> None:
        go_on = threading.Event()
        embeddings_wire.script(Answer(waits_for=go_on))
        task = asyncio.create_task(make().aembed_query("x"))
        await traffic.until(lambda: embeddings_wire.open == 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert recorder.value("llm_active_calls") == 1
        go_on.set()
        await traffic.until(lambda: recorder.value("llm_calls_total") == 1)
        equals_the_wire(recorder, embeddings_wire)
        assert recorder.value("llm_calls_total", status="success") == 1


class TestBatches:
    """Texts that a package sends in several requests."""

    async def test_batches_are_calls_each_with_its_own_tokens(
        self, ask: Ask, embeddings_wire: EmbeddingsWire, recorder: MemoryRecorder
    ) -> None:
        own = openai(embeddings_wire, chunk_size=2)
        embeddings = InstrumentedEmbeddings(own, recorder=recorder)
        await ask(embeddings, "embed_documents", ["a", "b", "c", "d", "e"])
        assert recorder.value("llm_calls_total") == len(embeddings_wire.asked) == 3
        assert recorder.histogram("llm_latency_seconds").count == 3
        equals_the_wire(recorder, embeddings_wire)

    def test_batches_that_failed_in_the_middle_are_counted_as_far_as_they_came(
        self, embeddings_wire: EmbeddingsWire, recorder: MemoryRecorder
    ) -> None:
        embeddings = InstrumentedEmbeddings(openai(embeddings_wire), recorder=recorder)
        embeddings_wire.script(Answer(), Refusal(429))
        with pytest.raises(Exception, match=r"."):
            embeddings.embed_documents(["a", "b", "c"], chunk_size=1)
        assert by(recorder, "llm_calls_total", "status") == {("success",): 1, ("error",): 1}
        equals_the_wire(recorder, embeddings_wire)

    def test_batches_that_the_sdk_makes_by_itself_are_one_call_with_all_tokens(
        self, embeddings_wire: EmbeddingsWire, recorder: MemoryRecorder
    ) -> None:
        embeddings = InstrumentedEmbeddings(cohere(embeddings_wire), recorder=recorder)
        embeddings.embed_documents(["x"] * 200)
        assert len(embeddings_wire.asked) == 3
        assert recorder.value("llm_calls_total") == 1
        assert recorder.value("llm_tokens_total") == sum(embeddings_wire.tokens().values())

    def test_batches_of_no_texts_are_no_calls(
        self, embeddings_wire: EmbeddingsWire, recorder: MemoryRecorder
    ) -> None:
        embeddings = InstrumentedEmbeddings(openai(embeddings_wire), recorder=recorder)
        assert embeddings.embed_documents([]) == []
        equals_the_wire(recorder, embeddings_wire)


class TestWhatARequestSays:
    def test_what_a_request_says_is_the_price_of_its_input_and_no_output(
        self, embeddings_wire: EmbeddingsWire, recorder: MemoryRecorder
    ) -> None:
        embeddings_wire.script(Answer(tokens=1000))
        InstrumentedEmbeddings(openai(embeddings_wire), recorder=recorder).embed_query("x")
        assert recorder.value("llm_cost_usd_total") == pytest.approx(0.00002, rel=1e-9)
        assert recorder.value("llm_input_tokens_last_call") == 1000
        assert recorder.value("llm_output_tokens_last_call") == 0

    @pytest.mark.parametrize(
        ("provider", "seconds"),
        [
            ("bedrock", BEDROCK_MILLISECONDS / 1e3),
            ("ollama", OLLAMA_NANOSECONDS / 1e9),
            ("openai", 0.0),
        ],
    )
    def test_what_a_request_says_is_the_time_that_the_provider_took_where_it_gives_one(
        self, seconds: float, make: Made, recorder: MemoryRecorder
    ) -> None:
        calls = ended(recorder)
        make().embed_query("x")
        assert [call.api_seconds for call in calls] == [seconds]

    @pytest.mark.parametrize("provider", ["azure"])
    def test_what_a_request_says_names_the_model_behind_a_deployment_unless_it_refuses(
        self, embeddings_wire: EmbeddingsWire, make: Made, recorder: MemoryRecorder
    ) -> None:
        embeddings_wire.script(Answer(), Refusal(429))
        embeddings = make()
        embeddings.embed_query("x")
        with suppress(Exception):
            embeddings.embed_query("x")
        assert by(recorder, "llm_calls_total", "model", "status") == {
            ("prod-embeddings", "success"): 1,
            ("prod-embeddings", "error"): 1,
        }
        assert by(recorder, "llm_served_calls_total", "model", "served_model") == {
            ("prod-embeddings", "text-embedding-3-large"): 1
        }

    @pytest.mark.parametrize("provider", ["openai"])
    def test_what_a_request_says_gives_way_to_what_the_user_says(
        self, make: Made, recorder: MemoryRecorder
    ) -> None:
        make(provider="vllm", model="house-embedder", agent_name="indexer").embed_query("x")
        assert by(recorder, "llm_calls_total", "agent_name", "provider", "model") == {
            ("indexer", "vllm", "house-embedder"): 1
        }


class TestAnAnswerOverBareHttp:
    @pytest.mark.parametrize("provider", ["mistral"])
    def test_an_answer_over_bare_http_is_parsed_once_and_again_where_it_is_asked_for_otherwise(
        self, make: Made
    ) -> None:
        asked = {"model": "mistral-embed", "input": ["aeiou"]}
        response = make().client.post(url="/embeddings", json=asked)
        assert response.json() is response.json()
        assert response.json(parse_float=str)["data"][0]["embedding"][0] == "1.0"


class TestTheExampleInTheDocumentation:
    def test_the_example_in_the_documentation_runs_and_says_what_the_wire_counted(
        self, embeddings_wire: EmbeddingsWire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OLLAMA_HOST", embeddings_wire.url)
        page = (Path(__file__).parents[2] / "docs" / "embeddings.md").read_text()
        example = page.partition("```python")[2].partition("```")[0]
        names: dict[str, Any] = {}
        with replaced(MemoryRecorder()) as recorder:
            exec(example, names)
        assert [document.page_content for document in names["found"]] == ["a cat"]
        assert names["calls"] == len(embeddings_wire.asked) == 2
        assert names["tokens"] == sum(embeddings_wire.tokens().values()) > 0
        equals_the_wire(recorder, embeddings_wire)


class _Librarian(InstrumentedAgent):
    """An agent that embeds and retrieves, in every way."""

    agent_name = "librarian"

    def __init__(self, embeddings: Embeddings, recorder: MemoryRecorder) -> None:
        self.store = InMemoryVectorStore(embeddings)
        self.recorder = recorder

    def run(self) -> list[Document]:
        self.store.add_texts(["a cat", "two doors"])
        return self.store.as_retriever(search_kwargs={"k": 1}).invoke("a cat")

    async def arun(self) -> list[Document]:
        await self.store.aadd_texts(["a cat", "two doors"])
        return await self.store.as_retriever(search_kwargs={"k": 1}).ainvoke("a cat")


class TestInsideAnInstrumentedAgent:
    async def test_a_vector_stores_embeddings_inside_an_agent_are_the_agents_and_its_runs(
        self,
        ask: Ask,
        embeddings_wire: EmbeddingsWire,
        provider: str,
        make: Made,
        recorder: MemoryRecorder,
    ) -> None:
        found = await ask(_Librarian(make(), recorder), "run")
        assert [document.page_content for document in found] == ["a cat"]
        requests = len(embeddings_wire.asked)
        assert by(recorder, "llm_calls_total", "agent_name") == {("librarian",): requests}
        assert recorder.histogram("agent_run_llm_calls").sum == requests
        billed = sum(embeddings_wire.tokens().values())
        assert recorder.histogram("agent_run_tokens").sum == billed
        equals_the_wire(recorder, embeddings_wire)


class TestInsideANamedAgentsTool:
    @pytest.mark.parametrize("provider", ["openai", "bedrock"])
    async def test_embeddings_inside_a_named_agents_tool_are_the_agents_and_its_runs(
        self,
        ask: Ask,
        wire: Wire,
        embeddings_wire: EmbeddingsWire,
        make: Made,
        recorder: MemoryRecorder,
    ) -> None:
        embeddings = make()

        def look_up(text: str) -> str:
            """Look up."""
            embeddings.embed_query(text)
            return "found"

        async def alook_up(text: str) -> str:
            await embeddings.aembed_query(text)
            return "found"

        both = StructuredTool.from_function(look_up, coroutine=alook_up)
        graph = create_agent(traffic.openai(wire, "reader", "gpt-4o"), [both], name="reader")
        wire.script("gpt-4o", ChatAnswer(tools=(("look_up", {"text": "x"}),) * 2))
        config: Any = {"callbacks": [MetricsCallbackHandler(recorder)]}
        task: Any = {"messages": [("user", "x")]}
        await ask(followed(graph, "reader", recorder), "invoke", task, config)
        assert len(embeddings_wire.asked) == 2
        assert by(recorder, "llm_calls_total", "agent_name") == {("reader",): 4}
        assert recorder.histogram("agent_run_llm_calls").sum == 4
        chat = sum(call.input_tokens + call.output_tokens for call in wire.calls)
        embedded = sum(embeddings_wire.tokens().values())
        assert recorder.histogram("agent_run_tokens").sum == chat + embedded
        assert recorder.histogram("agent_run_cost_usd").sum == pytest.approx(
            recorder.value("llm_cost_usd_total"), rel=1e-9
        )


class TestAReranker:
    @pytest.fixture(params=RERANKERS)
    def reranker(
        self,
        request: pytest.FixtureRequest,
        embeddings_wire: EmbeddingsWire,
        recorder: MemoryRecorder,
    ) -> InstrumentedReranker:
        own = RERANKERS[request.param](embeddings_wire)
        return InstrumentedReranker(own, agent_name="ranker", recorder=recorder)

    async def test_a_rerankers_requests_are_calls_without_tokens(
        self,
        ask: Ask,
        reranker: InstrumentedReranker,
        embeddings_wire: EmbeddingsWire,
        recorder: MemoryRecorder,
    ) -> None:
        documents = [Document(text) for text in DOCUMENTS]
        ranked = await ask(reranker, "compress_documents", documents, "q")
        assert [document.page_content for document in ranked] == DOCUMENTS[:2]
        assert len(reranker.rerank(DOCUMENTS, "q")) == 2
        assert len(embeddings_wire.asked) == 2
        assert by(recorder, "llm_calls_total", "agent_name") == {("ranker",): 2}
        equals_the_wire(recorder, embeddings_wire)

    def test_a_reranker_of_no_documents_is_no_call(
        self,
        reranker: InstrumentedReranker,
        embeddings_wire: EmbeddingsWire,
        recorder: MemoryRecorder,
    ) -> None:
        assert reranker.compress_documents([], "q") == []
        equals_the_wire(recorder, embeddings_wire)

    def test_a_rerankers_refusal_is_an_error_of_its_type(
        self,
        reranker: InstrumentedReranker,
        embeddings_wire: EmbeddingsWire,
        recorder: MemoryRecorder,
    ) -> None:
        embeddings_wire.script(Refusal(401))
        with pytest.raises(Exception, match=r"."):
            reranker.compress_documents([Document("x")], "q")
        assert recorder.value("llm_errors_total", error_type="authentication") == 1
        equals_the_wire(recorder, embeddings_wire)
