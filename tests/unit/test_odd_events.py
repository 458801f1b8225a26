"""Events that are not what LangChain sends today: recorded as far as they are understood."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.errors import GraphInterrupt

import agentmetrics
from agentmetrics import InstrumentedCache, MemoryRecorder
from tests.unit.scripted import answer, assert_settled, by, calls, errors, runs

OPENAI = {"ls_provider": "openai", "ls_model_name": "gpt-4o"}
STARTS = {
    "on_chat_model_start": "llm",
    "on_llm_start": "llm",
    "on_chain_start": "chain",
    "on_tool_start": "tool",
    "on_retriever_start": "retriever",
}
BETWEEN = ("on_llm_new_token", "on_stream_event")
ENDS = {
    "on_llm_end": "llm",
    "on_llm_error": "llm",
    "on_chain_end": "chain",
    "on_chain_error": "chain",
    "on_tool_end": "tool",
    "on_tool_error": "tool",
    "on_retriever_end": "retriever",
    "on_retriever_error": "retriever",
}
UNUSED = ("on_text", "on_retry", "on_agent_action", "on_agent_finish", "on_custom_event")
FINISHED = {
    "llm": "llm_calls_total",
    "tool": "tool_executions_total",
    "retriever": "retriever_queries_total",
}
START_OF = {kind: start for start, kind in STARTS.items()}


class Unreadable:
    """An object of somebody's own that is neither true nor false."""

    def __bool__(self) -> bool:
        raise RuntimeError("secret")

    def __repr__(self) -> str:
        return "Unreadable()"


def result(message: Any) -> Any:
    return SimpleNamespace(generations=[[SimpleNamespace(message=message)]], llm_output=None)


class TestARunId:
    @pytest.mark.parametrize("event", [*STARTS, *BETWEEN, *ENDS])
    @pytest.mark.parametrize("run_id", ["missing", None, "0f3c", 7, 7.5, True, [], {}, object()])
    def test_a_run_id_that_is_none_is_counted_and_opens_nothing(
        self, recorder: MemoryRecorder, handler: Any, event: str, run_id: Any
    ) -> None:
        getattr(handler, event)(**({} if run_id == "missing" else {"run_id": run_id}))
        assert errors(recorder) == {event: 1}
        assert_settled(recorder)

    @pytest.mark.parametrize("event", [*STARTS, *ENDS])
    def test_a_run_id_under_another_name_is_the_same(
        self, recorder: MemoryRecorder, handler: Any, event: str
    ) -> None:
        getattr(handler, event)(run_uuid=uuid.uuid4(), parent=uuid.uuid4())
        assert errors(recorder) == {event: 1}
        assert_settled(recorder)


class TestAStart:
    @pytest.mark.parametrize("start", STARTS)
    def test_a_start_needs_a_run_id_and_nothing_else(
        self, recorder: MemoryRecorder, handler: Any, start: str
    ) -> None:
        run_id = uuid.uuid4()
        getattr(handler, start)(run_id=run_id)
        assert by(recorder, "agentmetrics_open_runs", "kind") == {STARTS[start]: 1}
        assert errors(recorder) == {}

    @pytest.mark.parametrize("start", STARTS)
    @pytest.mark.parametrize(
        "odd",
        [
            {"metadata": ["agent_name"]},
            {"metadata": "agent_name"},
            {"metadata": 7},
            {"metadata": {"agent_name": Unreadable()}},
            {"parent_run_id": "0f3c"},
            {"parent_run_id": 7},
        ],
        ids=str,
    )
    def test_a_start_with_one_argument_that_is_not_understood_is_counted_and_opens_its_run(
        self, recorder: MemoryRecorder, handler: Any, start: str, odd: Any
    ) -> None:
        run_id = uuid.uuid4()
        getattr(handler, start)(run_id=run_id, **odd)
        assert by(recorder, "agentmetrics_open_runs", "kind") == {STARTS[start]: 1}
        assert errors(recorder) == {start: 1}

    @pytest.mark.parametrize(
        "odd",
        [
            {"parent_run_id": "0f3c"},
            {"metadata": {"agent_name": "planner", 7: "x", "other": Unreadable()}},
            {"invocation_params": "gpt-4o"},
            {"invocation_params": {"model": Unreadable(), "_type": Unreadable()}},
        ],
        ids=str,
    )
    def test_a_start_has_what_its_other_arguments_say(
        self, recorder: MemoryRecorder, handler: Any, odd: Any
    ) -> None:
        run_id = uuid.uuid4()
        about = {"metadata": {"agent_name": "planner", **OPENAI}, **odd}
        about["metadata"] = {**OPENAI, **about["metadata"]}
        handler.on_chat_model_start({}, [[]], run_id=run_id, **about)
        handler.on_llm_end(result(answer()), run_id=run_id)
        assert by(recorder, "llm_tokens_total", "agent_name", "provider", "model") == {
            ("planner", "openai", "gpt-4o"): 15
        }

    def test_a_start_of_no_readable_metadata_has_the_provider_of_its_parameters(
        self, recorder: MemoryRecorder, handler: Any
    ) -> None:
        run_id = uuid.uuid4()
        parameters = {"_type": "openai", "model": "gpt-4o", "stop": Unreadable()}
        handler.on_llm_start(
            {}, ["x"], run_id=run_id, metadata=["odd"], invocation_params=parameters
        )
        handler.on_llm_end(result(answer()), run_id=run_id)
        assert by(recorder, "llm_calls_total", "provider", "model") == {("openai", "gpt-4o"): 1}
        assert errors(recorder) == {"on_llm_start": 1}

    @pytest.mark.parametrize(
        ("name", "shown"), [(["a"], "invalid"), (b"a", "invalid"), (7, "7"), ("a\nb", "a_b")]
    )
    def test_a_start_of_a_tool_cleans_its_name(
        self, recorder: MemoryRecorder, handler: Any, name: Any, shown: str
    ) -> None:
        run_id = uuid.uuid4()
        handler.on_tool_start({}, "", run_id=run_id, name=name)
        assert by(recorder, "tool_executions_active", "tool_name") == {shown: 1}
        handler.on_tool_end("", run_id=run_id)
        assert by(recorder, "tool_executions_total", "tool_name") == {shown: 1}
        assert errors(recorder) == {}

    @pytest.mark.parametrize("serialized", ["add", ["add"], 7])
    def test_a_start_of_a_tool_that_says_nothing_readable_of_itself_is_unknown(
        self, recorder: MemoryRecorder, handler: Any, serialized: Any
    ) -> None:
        run_id = uuid.uuid4()
        handler.on_tool_start(serialized, "", run_id=run_id)
        handler.on_tool_end("", run_id=run_id)
        assert by(recorder, "tool_executions_total", "tool_name", "status") == {
            ("unknown", "success"): 1
        }
        assert errors(recorder) == {"on_tool_start": 1}

    def test_a_start_of_a_graph_with_a_name_that_is_none_is_a_run_that_can_be_read(
        self, recorder: MemoryRecorder, handler: Any
    ) -> None:
        graph, node, call = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        handler.on_chain_start({}, {}, run_id=graph, name=["my", "graph"])
        tags = ["graph:step:1", 7]
        handler.on_chain_start({}, {}, run_id=node, parent_run_id=graph, tags=tags)
        handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=node)
        assert recorder.value("agent_active_runs") == 1
        handler.on_llm_end(result(answer()), run_id=call)
        handler.on_chain_end({}, run_id=node)
        handler.on_chain_end({}, run_id=graph)
        assert runs(recorder) == {("invalid", "success"): 1}
        assert calls(recorder) == {("invalid", "success"): 1}
        assert_settled(recorder)


class TestAnEnd:
    @pytest.mark.parametrize("end", ENDS)
    def test_an_end_needs_a_run_id_and_nothing_else(
        self, recorder: MemoryRecorder, handler: Any, end: str
    ) -> None:
        run_id, kind = uuid.uuid4(), ENDS[end]
        getattr(handler, START_OF[kind])(run_id=run_id)
        getattr(handler, end)(run_id=run_id)
        assert_settled(recorder)
        if kind in FINISHED:
            status = "error" if end.endswith("_error") else "success"
            assert by(recorder, FINISHED[kind], "status") == {status: 1}
        untold = end.endswith("_error") or end in ("on_llm_end", "on_retriever_end")
        assert errors(recorder) == ({end: 1} if untold else {})

    @pytest.mark.parametrize("error", [None, "my secret", 7, ValueError])
    def test_an_end_with_an_error_that_is_none_is_an_error_of_no_known_type(
        self, recorder: MemoryRecorder, handler: Any, error: Any
    ) -> None:
        run_id = uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        handler.on_llm_error(error, run_id=run_id)
        assert calls(recorder) == {("unknown", "error"): 1}
        assert by(recorder, "llm_errors_total", "error_type") == {"other": 1}
        assert errors(recorder) == {"on_llm_error": 1}

    @pytest.mark.parametrize("attribute", ["code", "status_code", "response", "exceptions"])
    def test_an_end_with_an_error_whose_attributes_raise_is_an_error(
        self, recorder: MemoryRecorder, handler: Any, attribute: str
    ) -> None:
        # as those of httpx.RequestError do, where no request was set
        def raises(self: Any) -> Any:
            raise RuntimeError("secret")

        error = type("OwnError", (Exception,), {attribute: property(raises)})()
        for start, end, kind in (
            ("on_chat_model_start", "on_llm_error", "llm"),
            ("on_tool_start", "on_tool_error", "tool"),
        ):
            run_id = uuid.uuid4()
            getattr(handler, start)(run_id=run_id)
            getattr(handler, end)(error, run_id=run_id)
            assert by(recorder, FINISHED[kind], "status") == {"error": 1}
        assert by(recorder, "llm_errors_total", "error_type") == {"other": 1}
        assert errors(recorder) == {"record": 2}
        assert_settled(recorder)

    @pytest.mark.parametrize("odd", [{"parent_run_id": "0f3c"}, {"tags": [7]}], ids=str)
    def test_an_end_by_an_interrupt_of_no_readable_graph_is_interrupted(
        self, recorder: MemoryRecorder, handler: Any, odd: Any
    ) -> None:
        graph, node = uuid.uuid4(), uuid.uuid4()
        handler.on_chain_start({}, {}, run_id=graph)
        handler.on_chain_start(
            {}, {}, run_id=node, parent_run_id=graph, metadata={"agent_name": "asker"}
        )
        about = {"parent_run_id": graph, "tags": ["graph:step:1"], **odd}
        handler.on_chain_error(GraphInterrupt(), run_id=node, **about)
        handler.on_chain_end({}, run_id=graph)
        assert runs(recorder) == {("asker", "interrupted"): 1}
        assert errors(recorder) == {"on_chain_error": 1}
        assert_settled(recorder)

    @pytest.mark.parametrize("started", STARTS)
    @pytest.mark.parametrize("ended", ENDS)
    def test_an_end_of_another_kind_ends_the_run_that_was_begun(
        self, recorder: MemoryRecorder, handler: Any, started: str, ended: str
    ) -> None:
        run_id = uuid.uuid4()
        getattr(handler, started)(run_id=run_id)
        argument = {"error": ValueError()} if ended.endswith("_error") else {}
        getattr(handler, ended)(run_id=run_id, **argument)
        assert_settled(recorder)
        for kind, metric in FINISHED.items():
            assert recorder.value(metric) == (kind == STARTS[started])

    @pytest.mark.parametrize("documents", [None, 3, "abc", {"a": 1}, object()])
    def test_an_end_of_a_query_with_documents_that_are_none_does_not_count_them(
        self, recorder: MemoryRecorder, handler: Any, documents: Any
    ) -> None:
        run_id = uuid.uuid4()
        handler.on_retriever_start({}, "q", run_id=run_id)
        handler.on_retriever_end(documents, run_id=run_id)
        assert by(recorder, "retriever_queries_total", "status") == {"success": 1}
        assert not any(s.name.startswith("retriever_documents") for s in recorder.samples())
        assert errors(recorder) == {"on_retriever_end": 1}


class OwnMessage(BaseMessage):
    """A message class of the user's own: no usage, and nothing but text."""

    type: str = "own"


class TestAResponse:
    @pytest.fixture
    def end(self, recorder: MemoryRecorder, handler: Any) -> Any:
        """End a call with a response, and say what was counted of it."""

        def end(response: Any) -> dict[str, float]:
            run_id = uuid.uuid4()
            handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=OPENAI)
            handler.on_llm_end(response, run_id=run_id)
            assert by(recorder, "llm_calls_total", "status") == {"success": 1}
            assert_settled(recorder)
            return errors(recorder)

        return end

    def test_a_response_of_a_message_class_of_ones_own_is_a_call_without_tokens(
        self, recorder: MemoryRecorder, end: Any
    ) -> None:
        generation = ChatGeneration(message=OwnMessage(content="hello"))
        assert end(LLMResult(generations=[[generation]])) == {}
        assert recorder.value("llm_tokens_total") == 0

    @pytest.mark.parametrize(
        "response",
        [
            None,
            "text",
            {"generations": []},
            SimpleNamespace(generations=None, llm_output=None),
            SimpleNamespace(generations=[None], llm_output=None),
            SimpleNamespace(generations=7, llm_output=None),
            SimpleNamespace(generations=[], llm_output="gpt-4o"),
            result("text"),
            result({"content": "text"}),
            result(SimpleNamespace(content="text")),
        ],
        ids=repr,
    )
    def test_a_response_of_an_odd_shape_is_a_call_without_tokens(
        self, recorder: MemoryRecorder, end: Any, response: Any
    ) -> None:
        assert end(response) == {"on_llm_end": 1}
        assert recorder.value("llm_tokens_total") == 0

    def test_a_response_that_is_no_llm_result_is_understood_beside_an_instrumented_cache(
        self, recorder: MemoryRecorder, end: Any
    ) -> None:
        cache = InstrumentedCache(InMemoryCache())
        assert end(result(answer())) == {}
        del cache

    @pytest.mark.parametrize(
        "usage",
        [
            {"input_tokens": {"text": 10}, "output_tokens": 5},
            {"input_tokens": "10", "output_tokens": "5"},
            {"input_tokens": [10], "output_tokens": 5},
            "10 tokens",
            [10, 5],
            SimpleNamespace(input_tokens=10, output_tokens=5),
        ],
        ids=str,
    )
    def test_a_response_with_usage_of_a_new_shape_is_a_call_without_tokens_and_counted(
        self, recorder: MemoryRecorder, end: Any, usage: Any
    ) -> None:
        message = answer()
        message.usage_metadata = usage
        found = end(LLMResult(generations=[[ChatGeneration(message=message)]]))
        assert found == {"on_llm_end": 1}
        assert recorder.value("llm_tokens_total") == 0
        assert recorder.value("llm_cost_usd_total") == 0

    @pytest.mark.parametrize(
        ("more", "details"),
        [
            ({"thinking_units": 9, "by_modality": {"text": [1, 2]}}, {}),
            (
                {"input_token_details": {"cache_read": 4, "video": 3}},
                {"cache_read": 4, "unknown": 3},
            ),
            (
                {"output_token_details": {"reasoning": 2, "draft": {"a": 1}}},
                {"reasoning": 2, "unknown": 1},
            ),
            ({"input_token_details": None, "output_token_details": None}, {}),
        ],
        ids=str,
    )
    def test_a_response_with_more_usage_than_is_known_has_what_is_known(
        self, recorder: MemoryRecorder, end: Any, more: Any, details: Any
    ) -> None:
        message = answer(tokens=(10, 5), **more)
        assert end(LLMResult(generations=[[ChatGeneration(message=message)]])) == {}
        assert by(recorder, "llm_tokens_total", "token_type") == {"input": 10, "output": 5}
        assert by(recorder, "llm_token_details_total", "token_detail") == details


class TestAnEventThatBeginsAndEndsNothing:
    @pytest.mark.parametrize("event", UNUSED)
    def test_an_event_that_begins_and_ends_nothing_is_heard_whatever_it_says(
        self, recorder: MemoryRecorder, handler: Any, event: str
    ) -> None:
        getattr(handler, event)()
        getattr(handler, event)("text", {"odd": 1}, run_id=None, unheard_of=7)
        assert errors(recorder) == {}
        assert_settled(recorder)


class TestARecorderThatCannotHaveOurMetrics:
    @pytest.mark.parametrize(
        "use",
        [
            agentmetrics.configure,
            lambda recorder: agentmetrics.configure(agentmetrics.Namespace(recorder, "")),
            lambda recorder: agentmetrics.MetricsCallbackHandler(recorder),
            lambda recorder: agentmetrics.track_call("openai", "gpt-4o", recorder=recorder),
        ],
        ids=["configure", "in a layer", "handler", "track_call"],
    )
    def test_a_recorder_that_cannot_have_our_metrics_is_refused_at_the_start_in_one_sentence(
        self, recorder, handler, use
    ) -> None:
        taken = MemoryRecorder()
        taken.gauge(agentmetrics.Metric("llm_calls_total", "gauge", "Something else."))
        taken.gauge(agentmetrics.Metric("_llm_calls_total", "gauge", "Something else."))
        with pytest.raises(agentmetrics.ConfigurationError, match="llm_calls_total is already a"):
            use(taken)
        run_id = uuid.uuid4()  # what was in use before goes on
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        handler.on_llm_end(result(answer()), run_id=run_id)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert errors(recorder) == {}
