"""InstrumentedEmbeddings, InstrumentedReranker, and whose a call is that comes by no callback."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import anyio
import pytest
from langchain.agents import create_agent
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import HumanMessage, ToolCall
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import set_config_context
from langchain_core.tools import tool
from langchain_openai import OpenAIEmbeddings
from langgraph.graph import END, START, MessagesState, StateGraph

from agentmetrics import (
    ConfigurationError,
    InstrumentedAgent,
    InstrumentedEmbeddings,
    InstrumentedReranker,
    MemoryRecorder,
    MetricsCallbackHandler,
    configure,
    labels,
    track_call,
)
from agentmetrics.config import active
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.sources.langchain.wrappers.clients import EMBEDDINGS, watched_copy
from agentmetrics.sources.langchain.wrappers.naming import model_of, provider_of
from tests.services.wire import NO_KEY
from tests.unit.scripted import Chat, answer, assert_settled, by, calls, errors
from tests.unit.test_layers import BrokenLater

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_alone]


class Own(Embeddings):
    """Embeddings of the user's own: LangChain sees vectors, or an error."""

    dimensions = 2

    def __init__(self, answers=([1.0, 2.0],), model=None):
        self.answers, self.model = list(answers), model

    def embed_documents(self, texts, **options) -> Any:
        return [self.embed_query(text, **options) for text in texts]

    def embed_query(self, text, **options) -> Any:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, BaseException):
            raise found
        return {**options, "vector": found} if options else found


class Waiting(Own):
    """Embeddings that answer when they are told to."""

    def __init__(self):
        super().__init__()
        self.asked, self.go_on = anyio.Event(), anyio.Event()

    async def aembed_query(self, text):
        self.asked.set()
        await self.go_on.wait()
        return [1.0]


class Ranker(BaseDocumentCompressor):
    """A reranker of the user's own: the last shall be first."""

    model: str = "house-ranker"

    def compress_documents(self, documents, query, callbacks=None):
        return list(reversed(documents))


class TestEmbeddingsOfTheUsersOwn:
    async def test_embeddings_of_the_users_own_are_a_call_for_each_use(self, recorder):
        embeddings = InstrumentedEmbeddings(Own(model="house-embedder"))
        assert embeddings.embed_documents(["a", "b"]) == [[1.0, 2.0], [1.0, 2.0]]
        assert embeddings.embed_query("a") == [1.0, 2.0]
        assert await embeddings.aembed_documents(["a"]) == [[1.0, 2.0]]
        assert await embeddings.aembed_query("a") == [1.0, 2.0]
        names = ("agent_name", "provider", "model", "status")
        assert by(recorder, "llm_calls_total", *names) == {
            ("unknown", "unknown", "house-embedder", "success"): 4
        }
        assert recorder.histogram("llm_latency_seconds").count == 4
        assert recorder.value("llm_tokens_total") == 0
        assert errors(recorder) == {}
        assert_settled(recorder)

    @pytest.mark.parametrize("error", [TimeoutError("secret"), ConnectionError("secret")])
    async def test_embeddings_of_the_users_own_that_fail_are_errors_of_their_type(
        self, recorder, error
    ):
        embeddings = InstrumentedEmbeddings(Own([error]))
        with pytest.raises(type(error)):
            embeddings.embed_query("a")
        with pytest.raises(type(error)):
            await embeddings.aembed_documents(["a"])
        kind = "timeout" if isinstance(error, TimeoutError) else "connection"
        assert by(recorder, "llm_errors_total", "error_type") == {kind: 2}
        assert_settled(recorder)

    async def test_embeddings_of_the_users_own_are_in_flight_until_they_answer(self, recorder):
        own = Waiting()
        asked = asyncio.create_task(InstrumentedEmbeddings(own).aembed_query("a"))
        await own.asked.wait()
        assert recorder.value("llm_active_calls") == 1
        own.go_on.set()
        assert await asked == [1.0]
        assert_settled(recorder)

    async def test_embeddings_of_the_users_own_that_are_cancelled_are_cancelled(self, recorder):
        own = Waiting()
        asked = asyncio.create_task(InstrumentedEmbeddings(own).aembed_query("a"))
        await own.asked.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert calls(recorder) == {("unknown", "cancelled"): 1}
        assert_settled(recorder)

    async def test_embeddings_of_the_users_own_that_nobody_waits_for_any_more_are_cancelled(
        self, recorder
    ):
        asked = InstrumentedEmbeddings(Waiting()).aembed_query("a")
        asked.send(None)
        del asked
        assert calls(recorder) == {("unknown", "cancelled"): 1}
        assert_settled(recorder)

    async def test_embeddings_of_the_users_own_get_the_options_that_are_their_own(self, recorder):
        embeddings: Any = InstrumentedEmbeddings(Own())
        assert embeddings.embed_query("a", size=3) == {"size": 3, "vector": [1.0, 2.0]}
        assert embeddings.embed_documents(["a"], size=3) == [{"size": 3, "vector": [1.0, 2.0]}]

    def test_embeddings_of_the_users_own_keep_their_other_attributes(self, recorder):
        embeddings = InstrumentedEmbeddings(Own(model="m"))
        assert (embeddings.model, embeddings.dimensions) == ("m", 2)
        for missing in ("temperature", "__fspath__"):
            with pytest.raises(AttributeError, match=missing):
                getattr(embeddings, missing)

    def test_embeddings_of_the_users_own_that_are_instrumented_twice_are_counted_once(
        self, recorder
    ):
        once = InstrumentedEmbeddings(Own(), agent_name="first")
        InstrumentedEmbeddings(once, agent_name="second").embed_query("a")
        assert calls(recorder) == {("second", "success"): 1}


class TestTheInstrumentedOnes:
    def test_instrumented_embeddings_record_where_they_are_told(self, recorder):
        own = MemoryRecorder()
        InstrumentedEmbeddings(Own(), recorder=own).embed_query("a")
        assert calls(own) == {("unknown", "success"): 1}
        assert calls(recorder) == {}

    def test_instrumented_embeddings_follow_what_is_configured(self, recorder):
        embeddings = InstrumentedEmbeddings(Own())
        configure(later := MemoryRecorder())
        embeddings.embed_query("a")
        assert calls(later) == {("unknown", "success"): 1}
        assert calls(recorder) == {}

    def test_instrumented_embeddings_cannot_be_made_with_settings_that_cannot_be_used(
        self, monkeypatch
    ):
        monkeypatch.setattr(active.active, "in_use", None)
        monkeypatch.setattr(active.active, "pipeline", None)
        monkeypatch.setenv("AGENTMETRICS_BACKEND", "nowhere")
        with pytest.raises(ConfigurationError, match="nowhere"):
            InstrumentedEmbeddings(Own())

    def test_instrumented_embeddings_can_be_pickled_and_then_record_in_the_configured_recorder(
        self, recorder
    ):
        made = InstrumentedEmbeddings(
            Own(), agent_name="a", recorder=MemoryRecorder(), provider="p", model="m"
        )
        pickle.loads(pickle.dumps(made)).embed_query("x")
        assert by(recorder, "llm_calls_total", "agent_name", "provider", "model") == {
            ("a", "p", "m"): 1
        }

    @pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
    def test_instrumented_embeddings_are_copied_and_go_on_recording_in_the_same_place(
        self, recorder, how
    ):
        own = MemoryRecorder()
        how(InstrumentedEmbeddings(Own(), recorder=own)).embed_query("x")
        how(InstrumentedReranker(Ranker(), recorder=own)).compress_documents([], "q")
        assert calls(own) == {("unknown", "success"): 2}

    def test_instrumented_embeddings_end_a_call_once_that_was_given_up_before_it_answered(self):
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(call_ttl_seconds=1e-9))

        class Slow(Own):
            def embed_query(self, text, **options):
                assert recorder.value("llm_active_calls") == 0  # and now it is cancelled
                return [1.0]

        InstrumentedEmbeddings(Slow(), recorder=recorder).embed_query("x")
        assert calls(recorder) == {("unknown", "cancelled"): 1}

    def test_instrumented_embeddings_do_not_fail_with_their_backend(self):
        recorder = BrokenLater()
        embeddings = InstrumentedEmbeddings(Own(), recorder=recorder)

        class Agent(InstrumentedAgent):
            def run(self):
                return embeddings.embed_query("x")

        Agent.recorder = recorder
        assert Agent().run() == [1.0, 2.0]

    def test_instrumented_embeddings_count_a_call_that_could_not_begin_to_be_recorded(
        self, recorder, monkeypatch
    ):
        def broken(self, fact):
            raise OSError("secret")

        monkeypatch.setattr("agentmetrics.calls.table.OpenTable.count_in_run", broken)

        class Agent(InstrumentedAgent):
            def run(self):
                return InstrumentedEmbeddings(Own()).embed_query("x")

        assert Agent().run() == [1.0, 2.0]
        assert errors(recorder) == {"request": 1}
        assert calls(recorder) == {("Agent", "success"): 1}

    def test_instrumented_embeddings_count_an_answer_that_cannot_be_and_not_its_tokens(
        self, recorder
    ):
        class Odd(dict):
            pass

        InstrumentedEmbeddings(Own([Odd(prompt_eval_count=-7)])).embed_query("x")
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 0
        assert errors(recorder) == {"response": 1}


class TestARerankerOfTheUsersOwn:
    async def test_a_reranker_of_the_users_own_is_a_call_for_each_use(self, recorder):
        reranker = InstrumentedReranker(Ranker(), agent_name="ranker")
        documents = [Document("a"), Document("b")]
        assert reranker.compress_documents(documents, "q") == documents[::-1]
        assert await reranker.acompress_documents(documents, "q") == documents[::-1]
        assert by(recorder, "llm_calls_total", "agent_name", "model") == {
            ("ranker", "house-ranker"): 2
        }
        assert_settled(recorder)

    def test_a_reranker_of_the_users_own_keeps_its_other_attributes(self, recorder):
        reranker = InstrumentedReranker(Ranker())
        assert reranker.model == "house-ranker"
        for missing in ("temperature", "_temperature"):
            with pytest.raises(AttributeError, match="temperature"):
                getattr(reranker, missing)

    def test_a_reranker_of_the_users_own_that_is_instrumented_twice_is_counted_once(self, recorder):
        once = InstrumentedReranker(Ranker())
        InstrumentedReranker(once).compress_documents([], "q")
        assert recorder.value("llm_calls_total") == 1

    def test_a_reranker_of_the_users_own_can_be_pickled(self, recorder):
        made = pickle.loads(pickle.dumps(InstrumentedReranker(Ranker(), agent_name="ranker")))
        made.compress_documents([], "q")
        assert calls(recorder) == {("ranker", "success"): 1}


class TestTheTaskType:
    @pytest.fixture
    def recorder(self) -> MemoryRecorder:
        """One with labels of the user's, configured as a user does it."""
        recorder = configure(extra_labels="task_type,tenant")
        assert isinstance(recorder, MemoryRecorder)
        return recorder

    def test_the_task_type_is_that_of_what_was_asked(self, agent_metrics, recorder):
        embeddings, reranker = InstrumentedEmbeddings(Own()), InstrumentedReranker(Ranker())
        with labels(tenant="acme", task_type="chat"):
            embeddings.embed_query("x")
            reranker.compress_documents([], "q")
            Chat().invoke("hi", {"callbacks": [MetricsCallbackHandler()]})
        Chat().invoke("hi", {"callbacks": [MetricsCallbackHandler()]})
        assert by(recorder, "llm_calls_total", "task_type", "tenant") == {
            ("embedding", "acme"): 1,
            ("rerank", "acme"): 1,
            ("chat", "acme"): 1,
            ("", ""): 1,
        }

    def test_the_task_type_stands_beside_what_the_runs_metadata_says(self, agent_metrics, recorder):
        embeddings = InstrumentedEmbeddings(Own())
        metadata = {"tenant": "acme", "task_type": "chat"}
        RunnableLambda(embeddings.embed_query).invoke("x", {"metadata": metadata})
        assert by(recorder, "llm_calls_total", "task_type", "tenant") == {("embedding", "acme"): 1}


def embed(recorder=None):
    InstrumentedEmbeddings(Own(), recorder=recorder).embed_query("x")


def track(recorder=None):
    with track_call("openai", "gpt-4o", recorder=recorder):
        pass


@pytest.mark.parametrize("call", [embed, track])
class TestACallThatComesByNoCallback:
    """Of embeddings and of track_call alike."""

    def test_a_call_that_comes_by_no_callback_is_nobodys_where_nothing_is_around(
        self, recorder, call
    ):
        call()
        assert calls(recorder) == {("unknown", "success"): 1}

    def test_a_call_that_comes_by_no_callback_is_the_agents_around(self, recorder, call):
        class Agent(InstrumentedAgent):
            def run(self):
                call()

        Agent().run()
        assert calls(recorder) == {("Agent", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 1

    @pytest.mark.parametrize("callbacks", [True, False], ids=["followed", "not followed"])
    def test_a_call_that_comes_by_no_callback_is_the_agents_that_the_runs_metadata_names(
        self, recorder, call, callbacks
    ):
        config: RunnableConfig = {"metadata": {"agent_name": "planner"}}
        if callbacks:
            config["callbacks"] = [MetricsCallbackHandler()]
        (RunnableLambda(lambda x: x) | (lambda x: call())).invoke(1, config)
        assert calls(recorder) == {("planner", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == (1 if callbacks else 0)

    def test_a_call_that_comes_by_no_callback_is_the_agents_that_the_handler_names(
        self, recorder, call
    ):
        config: RunnableConfig = {"callbacks": [MetricsCallbackHandler(agent_name="explicit")]}
        config["metadata"] = {"agent_name": "planner"}
        RunnableLambda(lambda x: call()).invoke(1, config)
        assert calls(recorder) == {("explicit", "success"): 1}

    def test_a_call_that_comes_by_no_callback_is_the_named_agents_whose_tool_makes_it(
        self, recorder, call
    ):
        @tool
        def look_up(text: str) -> str:
            """Look up."""
            call()
            return "found"

        class ToolChat(Chat):
            def bind_tools(self, tools, **options):
                return self

        asks = answer("")
        asks.tool_calls = [ToolCall(name="look_up", args={"text": "x"}, id="1", type="tool_call")]
        agent = create_agent(ToolChat(answers=[asks, answer()]), [look_up], name="reader")
        agent.invoke({"messages": [HumanMessage("x")]}, {"callbacks": [MetricsCallbackHandler()]})
        assert calls(recorder) == {("reader", "success"): 3}
        assert recorder.histogram("agent_run_llm_calls").sum == 3
        assert recorder.histogram("agent_run_tool_calls").sum == 1

    @pytest.mark.parametrize(("name", "agent"), [("shop", "shop"), (None, "shelf")])
    def test_a_call_that_comes_by_no_callback_is_the_graphs_else_the_nodes(
        self, recorder, call, name, agent
    ):
        graph = StateGraph(MessagesState)
        graph.add_node("shelf", lambda state: call())
        graph.add_edge(START, "shelf")
        graph.add_edge("shelf", END)
        config: RunnableConfig = {"callbacks": [MetricsCallbackHandler()]}
        graph.compile(name=name).invoke({"messages": []}, config)
        assert calls(recorder) == {(agent, "success"): 1}

    def test_a_call_that_comes_by_no_callback_of_another_recorder_has_the_name_and_no_run(
        self, recorder, call
    ):
        elsewhere = MemoryRecorder()
        config: RunnableConfig = {
            "callbacks": [MetricsCallbackHandler()],
            "metadata": {"agent_name": "planner"},
        }
        RunnableLambda(lambda x: call(elsewhere)).invoke(1, config)
        assert calls(elsewhere) == {("planner", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 0

    def test_a_call_that_comes_by_no_callback_in_a_config_that_cannot_be_read_is_counted(
        self, recorder, call
    ):
        with set_config_context({"metadata": "odd"}) as context:  # type: ignore[typeddict-item]
            context.run(call)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert errors(recorder) == {"surroundings": 1}

    def test_a_call_that_comes_by_no_callback_in_a_config_with_plain_handlers_is_the_handlers(
        self, recorder, call
    ):
        config: RunnableConfig = {"callbacks": [MetricsCallbackHandler(agent_name="explicit")]}
        with set_config_context(config) as context:
            context.run(call)
        assert calls(recorder) == {("explicit", "success"): 1}


def test_the_agent_that_embeddings_were_given_stands_before_all(recorder):
    embeddings = InstrumentedEmbeddings(Own(), agent_name="indexer")
    config: RunnableConfig = {"callbacks": [MetricsCallbackHandler(agent_name="explicit")]}
    RunnableLambda(embeddings.embed_query).invoke("x", config)
    assert calls(recorder) == {("indexer", "success"): 1}


def of_class(module: str, name: str = "Some", base: type = object, **attributes: object) -> object:
    return type(name, (base,), {"__module__": module, **attributes})()


class TestNames:
    @pytest.mark.parametrize(
        ("asked", "provider"),
        [
            (of_class("langchain_openai.embeddings.base"), "openai"),
            (of_class("langchain_openai.embeddings.azure", "AzureOpenAIEmbeddings"), "azure"),
            (of_class("langchain_mistralai.embeddings"), "mistral"),
            (of_class("langchain_aws.embeddings.bedrock"), "amazon_bedrock"),
            (of_class("langchain_voyageai.embeddings"), "voyageai"),
            (of_class("langchain_community.embeddings.jina"), "jina"),
            (of_class("langchain_community.document_compressors.jina_rerank"), "jina"),
            (of_class("langchain_core.embeddings.fake"), "unknown"),
            (of_class("shop.search"), "unknown"),
            (of_class("shop.search", base=type(of_class("langchain_ollama.x"))), "ollama"),
        ],
    )
    def test_names_of_a_provider_are_those_of_its_chat_models(self, asked, provider):
        assert provider_of(asked) == provider

    @pytest.mark.parametrize(
        ("attributes", "model"),
        [
            ({"model": "m"}, "m"),
            ({"model_name": "m"}, "m"),
            ({"model": None, "model_id": "m"}, "m"),
            ({"model_arn": "arn:m"}, "arn:m"),
            ({"model": "models/m"}, "m"),
            ({"model": "a\nb"}, "a_b"),
            ({"model": object(), "model_name": ""}, "unknown"),
            ({"model": "default", "deployment": "d", "model_fields_set": {"deployment"}}, "d"),
            ({"model": "m", "deployment": "d", "model_fields_set": {"model", "deployment"}}, "m"),
            ({"model": "m", "deployment": None, "model_fields_set": {"deployment"}}, "unknown"),
            ({}, "unknown"),
        ],
    )
    def test_names_of_a_model_are_where_the_packages_have_them(self, attributes, model):
        assert model_of(of_class("shop", **attributes)) == model


class TestAWatchedCopy:
    def make(self, **options):
        return OpenAIEmbeddings(check_embedding_ctx_length=False, **options)

    def test_a_watched_copy_is_of_known_packages_and_of_classes_that_inherit_from_them(self):
        class Derived(OpenAIEmbeddings):
            pass

        assert watched_copy(self.make(api_key=NO_KEY), EMBEDDINGS, print) is not None
        assert watched_copy(Derived(api_key=NO_KEY), EMBEDDINGS, print) is not None
        assert watched_copy(Own(), EMBEDDINGS, print) is None

    def test_a_watched_copy_hands_requests_over_and_is_otherwise_the_same(self):
        own = self.make(api_key=NO_KEY)
        watched = watched_copy(own, EMBEDDINGS, lambda method, **asked: (method, asked))
        method, asked = watched.client.create(input="x", model="m")
        assert method == own.client.create
        assert asked == {"input": "x", "model": "m"}
        assert watched.client.with_raw_response is own.client.with_raw_response
        assert watched.model == own.model

    def test_a_watched_copy_hides_no_attribute_of_the_client(self):
        own = self.make(api_key=NO_KEY)
        watched = watched_copy(own, EMBEDDINGS, print)
        assert watched.client._client is own.client._client
        assert copy.copy(watched.client).with_raw_response is own.client.with_raw_response

    def test_a_watched_copy_leaves_out_a_client_that_is_not_there(self):
        own = self.make(api_key=NO_KEY)
        own.client = None  # as where the key can be had asynchronously alone
        watched = watched_copy(own, EMBEDDINGS, print)
        assert watched.client is None
        assert watched.async_client is not None

    def test_a_watched_copy_is_none_where_the_client_is_another_than_expected(self, recorder):
        class Elsewhere(OpenAIEmbeddings):
            def embed_query(self, text, **options):
                return [1.0]

        own = Elsewhere(api_key=NO_KEY, client=object(), async_client=object())
        assert watched_copy(own, EMBEDDINGS, print) is None
        InstrumentedEmbeddings(own).embed_query("x")
        assert recorder.value("llm_calls_total", provider="openai") == 1
