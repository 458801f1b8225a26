"""Fallbacks to another model, counted from callbacks alone; and what looks like one and is none."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
)
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_core.tracers import context as langchain_context
from langgraph.graph import END, START, MessagesState, StateGraph

import agentmetrics
from agentmetrics import (
    Budget,
    Budgets,
    InstrumentedAgent,
    MemoryRecorder,
    MetricsCallbackHandler,
    instrument,
)
from agentmetrics.sources.langchain import attach
from agentmetrics.sources.langchain.callbacks import fallbacks as routing
from tests.unit.scripted import Chat, StreamingChat, Text, answer, assert_settled, by, errors

RETRY: dict[str, Any] = {"stop_after_attempt": 3, "wait_exponential_jitter": False}
QUESTION: Any = {"messages": [("user", "x")]}
PROMPT = ChatPromptTemplate.from_template("{x}")

Ways = dict[str, Callable[[Runnable[Any, Any], Any, Any], Any]]


async def _all(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


ONE: Ways = {
    "invoke": lambda chain, x, config: chain.invoke(x, config),
    "ainvoke": lambda chain, x, config: asyncio.run(chain.ainvoke(x, config)),
    "stream": lambda chain, x, config: list(chain.stream(x, config)),
    "astream": lambda chain, x, config: asyncio.run(_all(chain.astream(x, config))),
    "astream_events": lambda chain, x, config: asyncio.run(_all(chain.astream_events(x, config))),
}
MANY: Ways = {
    "batch": lambda chain, x, config: chain.batch([x] * 4, config, return_exceptions=True),
    "batch one by one": lambda chain, x, config: chain.batch(
        [x] * 4, config | {"max_concurrency": 1}, return_exceptions=True
    ),
    "abatch": lambda chain, x, config: asyncio.run(
        chain.abatch([x] * 4, config, return_exceptions=True)
    ),
    "batch_as_completed": lambda chain, x, config: list(
        chain.batch_as_completed([x] * 4, config, return_exceptions=True)
    ),
}
WAYS: Ways = ONE | MANY
# On Python 3.10 LangGraph does not tell async nodes, and so their models, what they run in.
AGENT_WAYS = ["invoke", "stream", *(["ainvoke", "astream"] if sys.version_info >= (3, 11) else [])]


@pytest.fixture(params=WAYS)
def run(request, config):
    """Run a chain in one of LangChain's ways, on one input or on four; its errors are let go."""

    def run(chain: Runnable[Any, Any], x: Any = "x", **more: Any) -> int:
        with suppress(TimeoutError, ConnectionError):
            WAYS[request.param](chain, x, {**config, **more})
        return 4 if request.param in MANY else 1

    return run


@pytest.fixture(autouse=True)
def nothing_is_left(recorder):
    yield
    if recorder.value("agentmetrics_open_runs"):
        gc.collect()  # a traceback holds what LangChain has never ended
    assert errors(recorder) == {}
    assert_settled(recorder)
    assert routing.failing == set()


def fails(error: Exception | None = None, kind: type[Chat] = StreamingChat) -> Chat:
    return kind(answers=[error or TimeoutError()], model="down")


def works(kind: type[Chat] = StreamingChat) -> Chat:
    return kind(answers=[answer("ok")], model="up")


@tool
def add() -> int:
    """Add."""
    return 3


class ChatWithTools(Chat):
    """A chat model that is told of tools as those of providers are."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self.bind(tools=[{"name": each.name} for each in tools])


def fallbacks(recorder: MemoryRecorder) -> dict[str, float]:
    return by(recorder, "model_fallbacks_total", "reason")


class TestWithFallbacks:
    def test_each_hand_over_counts_with_the_reason_of_the_failure_before_it(self, recorder, run):
        n = run(fails().with_fallbacks([fails(ConnectionError()), works()]))
        assert fallbacks(recorder) == {"timeout": n, "connection": n}

    def test_a_first_model_that_works_hands_nothing_over(self, recorder, run):
        run(works().with_fallbacks([fails(), works()]))
        assert fallbacks(recorder) == {}

    def test_the_last_failure_hands_nothing_over(self, recorder, run):
        n = run(fails().with_fallbacks([fails(ConnectionError())]))
        assert fallbacks(recorder) == {"timeout": n}

    def test_chains_hand_over_as_models_do(self, recorder, run):
        chain = PROMPT | fails() | StrOutputParser()
        n = run(chain.with_fallbacks([PROMPT | works() | StrOutputParser()]), {"x": "y"})
        assert fallbacks(recorder) == {"timeout": n}

    def test_fallbacks_inside_a_chain_count_the_same(self, recorder, run):
        model = fails().with_fallbacks([works()])
        n = run(PROMPT | model | StrOutputParser(), {"x": "y"})
        assert fallbacks(recorder) == {"timeout": n}

    def test_a_chain_that_fails_after_its_model_answered_hands_over_too(self, recorder, run):
        def unreadable(message: AIMessage) -> str:
            raise ConnectionError

        chain: Runnable[Any, Any] = works() | RunnableLambda(unreadable)
        n = run(chain.with_fallbacks([works()]))
        assert fallbacks(recorder) == {"connection": n}

    def test_what_is_bound_afterwards_changes_nothing(self, recorder, run):
        n = run(fails().with_fallbacks([works()]).bind(stop=["x"]).with_config(tags=["mine"]))
        assert fallbacks(recorder) == {"timeout": n}

    def test_text_models_hand_over_as_chat_models_do(self, recorder, run):
        n = run(Text(output=TimeoutError()).with_fallbacks([Text(output={})]))
        assert fallbacks(recorder) == {"timeout": n}

    @pytest.mark.parametrize("way", AGENT_WAYS)
    def test_agents_hand_over_as_models_do(self, recorder, config, way):
        first, second = create_agent(fails(kind=Chat)), create_agent(works(Chat))
        WAYS[way](first.with_fallbacks([second]), QUESTION, config)
        assert fallbacks(recorder) == {"timeout": 1}

    def test_a_model_inside_a_tool_takes_over_too(self, recorder, run):
        @tool
        def ask(question: str) -> str:
            """Ask."""
            return works().invoke(question).text

        asked: Runnable[Any, Any] = RunnableLambda(lambda x: {"question": x}) | ask
        n = run(fails().with_fallbacks([asked]))
        assert fallbacks(recorder) == {"timeout": n}

    def test_a_canned_answer_is_no_model(self, recorder, config, run):
        canned: Runnable[Any, Any] = RunnableLambda(lambda _: "sorry")
        run(fails().with_fallbacks([canned]))
        works().invoke("something else", config)
        assert fallbacks(recorder) == {}

    def test_one_chain_with_two_models_takes_over_once(self, recorder, run):
        n = run(fails().with_fallbacks([works() | RunnableLambda(str) | works()]))
        assert fallbacks(recorder) == {"timeout": n}

    def test_only_inputs_that_failed_are_handed_over(self, recorder, config):
        def odd(x: int) -> int:
            if x % 2:
                raise ConnectionError
            return x

        first = RunnableLambda(odd) | RunnableLambda(str) | works()
        second = RunnableLambda(str) | works()
        first.with_fallbacks([second]).batch(list(range(10)), config)
        assert fallbacks(recorder) == {"connection": 5}

    def test_an_error_that_is_not_to_be_handled_hands_nothing_over(self, recorder, config, run):
        model = fails().with_fallbacks([works()], exceptions_to_handle=(ValueError,))
        run(model)
        with suppress(TimeoutError):  # where LangChain never ends the run of the fallbacks
            model.batch(["x", "y"], config)
        works().invoke("something else", config)
        assert fallbacks(recorder) == {}

    def test_a_stream_that_breaks_after_its_first_words_hands_nothing_over(self, recorder, config):
        broken = StreamingChat(answers=[answer("words")], fails_after=2, model="down")
        with pytest.raises(ConnectionResetError):
            list(broken.with_fallbacks([works()]).stream("x", config))
        assert fallbacks(recorder) == {}

    def test_fallbacks_are_seen_by_a_handler_that_nobody_passed(self, recorder):
        class Writer(InstrumentedAgent):
            def run(self, how: str) -> None:
                ONE[how](fails().with_fallbacks([works()]), "x", None)

        for how in ONE:
            Writer().run(how)
        assert fallbacks(recorder) == {"timeout": len(ONE)}

    def test_fallbacks_are_seen_by_a_handler_of_the_whole_process(self, recorder):
        hooks = list(langchain_context._configure_hooks)
        try:
            instrument(recorder)
            fails().with_fallbacks([works()]).invoke("x")
        finally:
            langchain_context._configure_hooks[:] = hooks
            attach._everywhere = None
        assert fallbacks(recorder) == {"timeout": 1}

    def test_fallbacks_in_a_node_of_a_graph_count_once_each(self, recorder, config):
        model = fails().with_fallbacks([works()])
        graph = StateGraph(MessagesState)
        graph.add_node("ask", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_edge(START, "ask")
        graph.add_edge("ask", END)
        graph.compile().invoke(QUESTION, config)
        assert fallbacks(recorder) == {"timeout": 1}

    def test_two_handlers_on_one_recorder_count_a_fallback_once(self, recorder, run):
        handler = MetricsCallbackHandler()
        model = fails().with_config(callbacks=[handler])
        n = run(model.with_fallbacks([works()]), callbacks=[handler, MetricsCallbackHandler()])
        assert fallbacks(recorder) == {"timeout": n}

    def test_two_recorders_count_fallbacks_each_for_itself(self, recorder, run):
        other = MemoryRecorder()
        handlers = [MetricsCallbackHandler(other), MetricsCallbackHandler()]
        model = fails().with_fallbacks([fails().with_fallbacks([works()])])
        n = run(model, callbacks=handlers)
        assert fallbacks(recorder) == fallbacks(other) == {"timeout": 2 * n}


class TestARefusal:
    """A budget that is spent lets no call of its model through."""

    @pytest.fixture(autouse=True)
    def spent(self, recorder):
        budgets = Budgets([Budget("b", 0, scope={"model": "down"}, action="block")], recorder)
        yield
        budgets.close()

    # LangChain starts all of a batch, and drops those behind the one that is refused.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("first", [fails(), PROMPT | fails()], ids=["model", "chain"])
    def test_a_refusal_hands_over_as_a_failure_does(self, recorder, run, first):
        n = run(first.with_fallbacks([works()]))
        assert fallbacks(recorder) == {"budget_exceeded": n}


class TestNested:
    def test_outer_fallbacks_take_over_from_all_of_the_inner_ones(self, recorder, run):
        n = run(fails().with_fallbacks([fails()]).with_fallbacks([works()]))
        assert fallbacks(recorder) == {"timeout": 2 * n}

    def test_inner_fallbacks_may_be_what_takes_over(self, recorder, run):
        inner = fails(ConnectionError()).with_fallbacks([works()])
        n = run(fails().with_fallbacks([inner]))
        assert fallbacks(recorder) == {"timeout": n, "connection": n}

    def test_inner_fallbacks_that_recover_hand_nothing_over(self, recorder, run):
        n = run(fails().with_fallbacks([works()]).with_fallbacks([works()]))
        assert fallbacks(recorder) == {"timeout": n}


class TestRetries:
    def test_attempts_of_one_model_are_no_fallbacks(self, recorder, run):
        n = run(fails().with_retry(**RETRY))
        assert fallbacks(recorder) == {}
        assert recorder.value("llm_calls_total", status="error") >= n

    def test_a_model_that_gave_up_hands_over_once(self, recorder, run):
        n = run(fails().with_retry(**RETRY).with_fallbacks([works()]))
        assert fallbacks(recorder) == {"timeout": n}

    def test_a_retry_of_all_models_is_no_fallback(self, recorder, config):
        model = fails().with_fallbacks([fails()]).with_retry(**RETRY)
        for way, n in (("invoke", 1), ("ainvoke", 1), ("batch", 4), ("abatch", 4)):
            recorder.reset()
            with suppress(TimeoutError):
                WAYS[way](model, "x", config)
            assert fallbacks(recorder) == {"timeout": 3 * n}, way


class TestTheIntent:
    def test_the_intent_is_that_of_the_runs_metadata(self, recorder, run):
        n = run(fails().with_fallbacks([works()]), metadata={"intent": "summary"})
        assert by(recorder, "model_fallbacks_total", "intent", "reason") == {
            ("summary", "timeout"): n
        }

    def test_the_intent_is_else_that_of_the_labels_around(self, recorder, run):
        with agentmetrics.labels(intent="chat"):
            n = run(fails().with_fallbacks([works()]))
        assert by(recorder, "model_fallbacks_total", "intent") == {"chat": n}

    def test_the_intent_is_else_empty(self, recorder, run):
        n = run(fails().with_fallbacks([works()]))
        assert by(recorder, "model_fallbacks_total", "intent") == {"": n}

    def test_the_intent_is_made_a_clean_label(self, recorder, run):
        n = run(fails().with_fallbacks([works()]), metadata={"intent": ["a", "list"]})
        assert by(recorder, "model_fallbacks_total", "intent") == {"invalid": n}


class TestWhatIsNoFallback:
    def test_another_call_after_an_error_that_was_swallowed_is_no_fallback(self, recorder, run):
        def helps_itself(x: str, config: Any) -> AIMessage:
            try:
                return fails().invoke(x, config)
            except TimeoutError:
                return works().invoke(x, config)

        run(RunnableLambda(helps_itself))
        run(RunnableLambda(helps_itself).with_fallbacks([works()]))
        assert recorder.value("llm_calls_total", model="down") > 0
        assert fallbacks(recorder) == {}

    def test_calls_side_by_side_are_no_fallbacks(self, recorder, run):
        def may_fail(model: Chat) -> Runnable[Any, Any]:
            def ask(x: str, config: Any) -> str:
                try:
                    return model.invoke(x, config).text
                except TimeoutError:
                    return ""

            return RunnableLambda(ask)

        run(RunnableParallel(a=may_fail(fails()), b=may_fail(works()), c=works()))
        assert fallbacks(recorder) == {}

    def test_fallbacks_side_by_side_count_their_own(self, recorder, run):
        model = fails().with_fallbacks([works()])
        n = run(RunnableParallel(a=model, b=model, c=works(), d=works().with_fallbacks([fails()])))
        assert fallbacks(recorder) == {"timeout": 2 * n}

    def test_many_fallbacks_at_once_on_one_event_loop_count_their_own(self, recorder, config):
        async def at_once() -> None:
            model = fails().with_fallbacks([fails(ConnectionError()), works()])
            asked = [model.ainvoke("x", config) for _ in range(20)]
            await asyncio.gather(*asked, *(works().ainvoke("y", config) for _ in range(20)))

        asyncio.run(at_once())
        assert fallbacks(recorder) == {"timeout": 20, "connection": 20}

    @pytest.mark.parametrize("first", [RunnableLambda(str) | works(), works()])
    def test_what_the_reader_of_a_stream_does_between_two_words_is_no_fallback(
        self, recorder, config, first
    ):
        for _ in first.with_fallbacks([works()]).stream("x", config):
            with pytest.raises(TimeoutError):
                fails().invoke("x", config)
            works().invoke("x", config)
        assert fallbacks(recorder) == {}

    @pytest.mark.parametrize("first", ["a word of its own", "a model's words"])
    def test_what_the_reader_does_before_the_member_asks_its_next_model_is_no_fallback(
        self, recorder, config, first
    ):
        def two_parts(x: str) -> Iterator[Any]:
            if first == "a word of its own":
                yield "well"
            else:
                yield from works().stream(x)
            yield from works().stream(x)

        member = RunnableLambda(two_parts)
        for _ in member.with_fallbacks([works()]).stream("x", config):
            with pytest.raises(TimeoutError):
                fails().invoke("x", config)
            works().invoke("x", config)
        assert fallbacks(recorder) == {}

    def test_a_stream_that_was_left_does_not_hand_over_afterwards(self, recorder, config):
        stream: Any = works().with_fallbacks([works()]).stream("x", config)
        next(stream)
        stream.close()
        with pytest.raises(TimeoutError):
            fails().invoke("x", config)
        works().invoke("x", config)
        assert fallbacks(recorder) == {}

    def test_batch_after_batch_leaves_nothing_in_the_context(self, config):
        model = fails().with_fallbacks([works()])
        for _ in range(5):
            model.batch(["x"] * 3, config)
        assert routing._around.get() is None


class TestModelFallbackMiddleware:
    @pytest.fixture(params=AGENT_WAYS)
    def ask(self, request, config):
        """Ask an agent with this model and middleware a question; its errors are let go."""

        def ask(model: Chat, *middleware: Any, **options: Any) -> None:
            agent = create_agent(model, middleware=middleware, **options)
            with suppress(TimeoutError, ConnectionError):
                ONE[request.param](agent, QUESTION, {**config, "metadata": {"intent": "help"}})

        return ask

    def test_each_hand_over_of_the_middleware_counts(self, recorder, ask):
        other = fails(ConnectionError(), kind=Chat)
        ask(fails(kind=Chat), ModelFallbackMiddleware(other, works(Chat)))
        assert by(recorder, "model_fallbacks_total", "intent", "reason") == {
            ("help", "timeout"): 1,
            ("help", "connection"): 1,
        }

    def test_the_same_model_once_more_is_a_hand_over_to_another_object(self, recorder, ask):
        ask(fails(kind=Chat), ModelFallbackMiddleware(fails(kind=Chat)))
        assert fallbacks(recorder) == {"timeout": 1}

    def test_the_last_failure_in_the_middleware_hands_nothing_over(self, recorder, ask, config):
        ask(fails(kind=Chat), ModelFallbackMiddleware(fails(ConnectionError(), kind=Chat)))
        works(Chat).invoke("something else", config)
        assert fallbacks(recorder) == {"timeout": 1}

    def test_a_retry_in_the_middleware_is_no_hand_over(self, recorder, ask):
        model = Chat(answers=[TimeoutError(), TimeoutError(), answer()])
        ask(model, ModelRetryMiddleware(max_retries=2, initial_delay=0.0))
        assert recorder.value("llm_calls_total", status="success") == 1
        assert fallbacks(recorder) == {}

    def test_a_model_that_gave_up_in_the_middleware_hands_over_once(self, recorder, ask):
        retries = ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="error")
        ask(fails(kind=Chat), ModelFallbackMiddleware(works(Chat)), retries)
        assert recorder.value("llm_calls_total", model="down") == 3
        assert fallbacks(recorder) == {"timeout": 1}

    def test_a_middleware_of_ones_own_that_hands_over_counts_as_well(self, recorder, ask):
        other = works(Chat)

        class HandsOver(AgentMiddleware):
            def wrap_model_call(self, request: Any, handler: Any) -> Any:
                try:
                    return handler(request)
                except TimeoutError:
                    return handler(request.override(model=other))

            async def awrap_model_call(self, request: Any, handler: Any) -> Any:
                try:
                    return await handler(request)
                except TimeoutError:
                    return await handler(request.override(model=other))

        ask(fails(kind=Chat), HandsOver())
        assert fallbacks(recorder) == {"timeout": 1}

    @pytest.mark.parametrize(
        ("guarded", "options"),
        [
            ("is this fine?", {}),
            ("the same messages", {"system_prompt": "You help."}),
            ("the same messages", {"tools": [add]}),
        ],
    )
    def test_a_middlewares_own_question_that_failed_is_no_hand_over(
        self, recorder, ask, guarded, options
    ):
        guard = fails(kind=Chat)

        class Guards(AgentMiddleware):
            def wrap_model_call(self, request: Any, handler: Any) -> Any:
                with suppress(TimeoutError):
                    guard.invoke(guarded if guarded.endswith("?") else request.messages)
                return handler(request)

            async def awrap_model_call(self, request: Any, handler: Any) -> Any:
                with suppress(TimeoutError):
                    await guard.ainvoke(guarded if guarded.endswith("?") else request.messages)
                return await handler(request)

        ask(works(ChatWithTools), Guards(), **options)
        assert by(recorder, "llm_calls_total", "model") == {"down": 1, "up": 1}
        assert fallbacks(recorder) == {}

    def test_models_with_tools_hand_over_like_others(self, recorder, ask):
        ask(fails(kind=ChatWithTools), ModelFallbackMiddleware(works(ChatWithTools)), tools=[add])
        assert fallbacks(recorder) == {"timeout": 1}

    def test_a_call_in_the_next_step_of_the_agent_is_no_hand_over(self, recorder, ask):
        wants_tool = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}])
        ask(ChatWithTools(answers=[wants_tool, answer()]), tools=[add])
        assert recorder.value("llm_calls_total", status="success") == 2
        assert fallbacks(recorder) == {}

    def test_a_node_called_model_of_another_graph_is_no_agents(self, recorder, config):
        def ask(state: MessagesState) -> Any:
            with suppress(TimeoutError):
                fails().invoke(state["messages"])
            return {"messages": [works().invoke(state["messages"])]}

        graph = StateGraph(MessagesState)
        graph.add_node("model", ask)
        graph.add_edge(START, "model")
        graph.add_edge("model", END)
        graph.compile().invoke(QUESTION, config)
        assert fallbacks(recorder) == {}


class TestEventsByHand:
    def test_a_failure_whose_start_nobody_saw_is_left_alone(self, recorder, handler):
        handler.on_chain_error(TimeoutError(), run_id=uuid.uuid4(), parent_run_id=uuid.uuid4())
        handler.on_llm_error(TimeoutError(), run_id=uuid.uuid4(), parent_run_id=uuid.uuid4())
        works().invoke("x", {"callbacks": [handler]})
        assert fallbacks(recorder) == {}

    def test_fallbacks_that_never_end_are_forgotten_with_their_run(self, recorder, handler):
        around, member = uuid.uuid4(), uuid.uuid4()
        handler.on_chain_start({}, {}, run_id=around, name="RunnableWithFallbacks")
        handler.on_chat_model_start({}, [[]], run_id=member)
        handler.on_llm_error(TimeoutError(), run_id=member)
        assert len(routing.failing) == 1
        del around
        recorder.samples()
        works().invoke("x", {"callbacks": [handler]})
        assert fallbacks(recorder) == {}
        routing._around.set(None)

    def test_one_call_of_a_batch_does_not_take_over_for_another(self, recorder, handler):
        elsewhere, call, first, called, second, beside = (uuid.uuid4() for _ in range(6))

        def fails_elsewhere() -> None:
            handler.on_chain_start({}, {}, run_id=elsewhere, name="RunnableWithFallbacks")
            handler.on_chat_model_start({}, [[]], run_id=call)
            handler.on_llm_error(TimeoutError(), run_id=call)

        contextvars.copy_context().run(fails_elsewhere)
        for run_id in (first, second):
            handler.on_chain_start({}, {}, run_id=run_id, name="RunnableWithFallbacks")
        handler.on_chat_model_start({}, [[]], run_id=called, parent_run_id=first)
        handler.on_llm_error(TimeoutError(), run_id=called, parent_run_id=first)
        handler.on_chat_model_start({}, [[]], run_id=beside, parent_run_id=second)
        assert fallbacks(recorder) == {}
        handler.on_llm_error(TimeoutError(), run_id=beside, parent_run_id=second)
        for run_id in (elsewhere, first, second):
            handler.on_chain_error(TimeoutError(), run_id=run_id)

    def test_only_the_last_of_calls_at_once_in_an_agent_is_taken_over_from(self, recorder, handler):
        node, first, last, third = (uuid.uuid4() for _ in range(4))
        metadata = {"langgraph_node": "model", "ls_integration": "langchain_create_agent"}
        handler.on_chain_start({}, {}, run_id=node, name="model", metadata=metadata)
        handler.on_chat_model_start({}, [[]], run_id=first, parent_run_id=node)
        handler.on_chat_model_start({}, [[]], run_id=last, parent_run_id=node)
        handler.on_llm_error(TimeoutError(), run_id=first, parent_run_id=node)
        handler.on_chat_model_start({}, [[]], run_id=third, parent_run_id=node)
        assert fallbacks(recorder) == {}
        for run_id in (last, third):
            handler.on_llm_error(TimeoutError(), run_id=run_id, parent_run_id=node)
        handler.on_chain_end({}, run_id=node)
