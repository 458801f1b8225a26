"""A thousand of everything that ends badly: each ends exactly once, and nothing is left of it.

LangChain sends no event at all for some of these. The models are fakes that hang, stream and
fail on demand, so that a thousand take a second; a few dozen go over HTTP.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from agentmetrics import InstrumentedAgent, MemoryRecorder, MetricsCallbackHandler, track_call
from agentmetrics.calls.facts import AgentRun, LLMCall, ToolExecution
from agentmetrics.pipeline import pipeline_of
from agentmetrics.sources.langchain.callbacks.scope import ChainRun
from tests.integration.apps import traffic
from tests.integration.apps.graphs import followed
from tests.services.wire import Answer, Wire

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.asyncio_alone,
    pytest.mark.usefixtures("only_our_objects"),
]

N = 1000
AT_ONCE = 100
IN_FLIGHT = (
    "llm_active_calls",
    "agent_active_runs",
    "tool_executions_active",
    "agentmetrics_open_runs",
)


class BrokenError(Exception):
    """What a model raises in the middle."""


class FakeModel(BaseChatModel):
    """Hangs, or streams words and then breaks; it has no provider behind it."""

    hangs: bool = False
    breaks: bool = False
    wants_tool: bool = False

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "fake", "ls_model_name": "fake-1", "ls_model_type": "chat"}

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _answer(self, messages: list[BaseMessage]) -> ChatResult:
        if self.breaks:
            raise BrokenError
        if self.wants_tool and messages[-1].type == "human":
            call = {"name": "wait", "args": {}, "id": "1"}
            return ChatResult(
                generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))]
            )
        return ChatResult(generations=[ChatGeneration(message=AIMessage("yes"))])

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        return self._answer(messages)

    async def _agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        await asyncio.sleep(60 if self.hangs else 0)
        return self._answer(messages)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for word in ("one", "two", "three"):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        if self.breaks:
            raise BrokenError

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for word in ("one", "two", "three"):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            await asyncio.sleep(0)
        if self.breaks:
            raise BrokenError
        await asyncio.sleep(60 if self.hangs else 0)


class FakeModelWithoutStreams(FakeModel):
    """The same, for graphs that would stream whenever somebody listens."""

    disable_streaming: bool = True


@tool
async def wait() -> str:
    """Wait."""
    await asyncio.sleep(60)
    return ""


@pytest.fixture
def config(handler: MetricsCallbackHandler) -> Any:
    """The handler, and a name for the agent."""
    return {"callbacks": [handler], "metadata": {"agent_name": "tester"}}


def ended(recorder: MemoryRecorder, name: str = "llm_calls_total") -> dict[str, int]:
    """How many ended, by status.

    A cancelled task's last exception can sit in a reference cycle with its traceback; the call
    in it ends when that is collected, which here is now.
    """
    gc.collect()
    statuses: dict[str, int] = {}
    for sample in recorder.samples():
        if sample.name == name and sample.value:
            status = sample.labels["status"]
            statuses[status] = statuses.get(status, 0) + int(sample.value)
    return statuses


def nothing_is_left(recorder: MemoryRecorder) -> None:
    """No gauge above 0, no entry in the table, and no fact of a call alive anywhere."""
    gc.collect()
    for gauge in IN_FLIGHT:
        assert recorder.value(gauge) == 0, gauge
        assert all(s.value == 0 for s in recorder.samples() if s.name == gauge), gauge
    table = pipeline_of(recorder).table
    assert not table._open
    assert not table.abandoned
    facts = LLMCall, AgentRun, ToolExecution, ChainRun
    assert [fact for fact in gc.get_objects() if isinstance(fact, facts)] == []
    assert recorder.value("agentmetrics_handler_errors_total") == 0


async def many(make: Callable[[], Coroutine[Any, Any, object]], n: int = N) -> None:
    """``n`` of these, a hundred at a time."""
    for _ in range(n // AT_ONCE):
        await asyncio.gather(*(make() for _ in range(AT_ONCE)))


async def cancelled(work: Coroutine[Any, Any, object], steps: int = 3) -> None:
    """Start it, and cancel it when it has come to where it hangs."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until_hanging(recorder: MemoryRecorder, gauge: str, n: int) -> None:
    """Wait until ``n`` are in flight."""
    with anyio.fail_after(20):
        while recorder.value(gauge) < n:
            await asyncio.sleep(0.002)


class TestCancelled:
    async def test_a_cancelled_ainvoke_of_a_bare_model_is_a_cancelled_call(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)
        await many(lambda: cancelled(model.ainvoke("x", config)))
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_cancelled_chain_is_a_cancelled_run_with_a_cancelled_call(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        chain: Any = RunnableLambda(_same) | FakeModel(hangs=True)
        await many(lambda: cancelled(chain.ainvoke("x", config), steps=20))
        assert ended(recorder) == {"cancelled": N}
        assert ended(recorder, "agent_runs_total") == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_an_astream_cancelled_between_two_words_is_a_cancelled_call(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)

        async def read() -> None:
            async for _ in model.astream("x", config):
                pass

        await many(lambda: cancelled(read(), steps=12))
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_cancelled_abatch_is_as_many_cancelled_calls(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)
        for _ in range(N // AT_ONCE):
            task = asyncio.ensure_future(model.abatch(["x"] * AT_ONCE, config))
            await until_hanging(recorder, "llm_active_calls", AT_ONCE)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            del task
            await _collected()
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_cancelled_instrumented_agent_is_a_cancelled_run(
        self, recorder: MemoryRecorder
    ) -> None:
        agent = _agent(recorder, FakeModel(hangs=True))
        await many(lambda: cancelled(agent.execute("x"), steps=6))
        assert ended(recorder, "agent_runs_total") == {"cancelled": N}
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_graph_cancelled_while_its_model_answers_is_a_cancelled_run_and_call(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        graph = followed(
            create_agent(FakeModelWithoutStreams(hangs=True), name="graph"), "graph", recorder
        )
        await self._graphs(graph, recorder, config, "llm_active_calls")
        assert ended(recorder, "agent_runs_total") == {"cancelled": 200}
        assert ended(recorder) == {"cancelled": 200}
        nothing_is_left(recorder)

    async def test_a_graph_cancelled_while_its_tool_works_is_a_cancelled_run_and_tool(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        graph = followed(
            create_agent(FakeModelWithoutStreams(wants_tool=True), [wait], name="graph"),
            "graph",
            recorder,
        )
        await self._graphs(graph, recorder, config, "tool_executions_active")
        assert ended(recorder, "agent_runs_total") == {"cancelled": 200}
        assert ended(recorder, "tool_executions_total") == {"cancelled": 200}
        assert ended(recorder) == {"success": 200}
        nothing_is_left(recorder)

    async def _graphs(self, graph: Any, recorder: MemoryRecorder, config: Any, gauge: str) -> None:
        """200, fifty at a time: a graph is a hundred times as much work as a call."""
        task: Any = {"messages": [("user", "x")]}
        bare = {"callbacks": config["callbacks"]}
        for _ in range(4):
            tasks = [asyncio.ensure_future(graph.ainvoke(task, bare)) for _ in range(50)]
            await until_hanging(recorder, gauge, 50)
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            del tasks, one
            await _collected()

    async def test_a_task_cancelled_inside_of_track_call_is_a_cancelled_call(
        self, recorder: MemoryRecorder
    ) -> None:
        async def call() -> None:
            async with track_call("fake", "fake-1", recorder=recorder):
                await asyncio.sleep(60)

        await many(lambda: cancelled(call()))
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_calls_in_a_cancelled_anyio_scope_are_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)
        for _ in range(N // AT_ONCE):
            async with anyio.create_task_group() as group:
                for _ in range(AT_ONCE):
                    group.start_soon(model.ainvoke, "x", config)
                await until_hanging(recorder, "llm_active_calls", AT_ONCE)
                group.cancel_scope.cancel()
            await _collected()
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)


class TestTimedOut:
    """A timeout around a call cancels the call: the caller's patience ended, not the provider."""

    async def test_a_call_that_wait_for_times_out_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)

        async def impatient() -> None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(model.ainvoke("x", config), 0.02)

        await many(impatient)
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_call_that_anyios_scope_times_out_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)

        async def impatient() -> None:
            with suppress(TimeoutError), anyio.fail_after(0.02):
                await model.ainvoke("x", config)

        await many(impatient)
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    if sys.version_info >= (3, 11):  # asyncio.timeout is there from 3.11 on

        async def test_calls_timed_out_inside_a_long_task_that_goes_on_are_cancelled(
            self, recorder: MemoryRecorder, config: Any
        ) -> None:
            model = FakeModel(hangs=True)

            async def long_task() -> None:
                for _ in range(10):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await model.ainvoke("x", config)
                # Still running: what it left behind is over all the same.
                assert recorder.value("llm_active_calls") <= AT_ONCE

            await many(long_task, N // 10)
            assert ended(recorder) == {"cancelled": N}
            nothing_is_left(recorder)

    async def test_a_timeout_around_an_agent_is_a_cancelled_run(
        self, recorder: MemoryRecorder
    ) -> None:
        agent = _agent(recorder, FakeModel(hangs=True))

        async def impatient() -> None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(agent.execute("x"), 0.05)

        await many(impatient)
        assert ended(recorder, "agent_runs_total") == {"cancelled": N}
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_timeout_inside_an_agent_that_lets_it_through_is_an_error_of_the_run(
        self, recorder: MemoryRecorder
    ) -> None:
        model = FakeModel(hangs=True)

        class Impatient(InstrumentedAgent):
            async def execute(self) -> None:
                await asyncio.wait_for(model.ainvoke("x"), 0.02)

        agent = Impatient()
        agent.recorder = recorder

        async def run() -> None:
            with suppress(asyncio.TimeoutError):
                await agent.execute()

        await many(run)
        assert ended(recorder, "agent_runs_total") == {"error": N}
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)


class TestAbandonedStreams:
    async def test_a_stream_closed_after_a_word_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel()

        async def leave() -> None:
            stream: Any = model.astream("x", config)
            await anext(stream)
            await stream.aclose()

        await many(leave)
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_stream_left_with_break_and_never_closed_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel()

        async def leave() -> None:
            async for _ in model.astream("x", config):
                break

        await many(leave)
        await _collected()
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_stream_of_a_chain_left_with_break_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        chain: Any = RunnableLambda(_same) | FakeModel()

        async def leave() -> None:
            async for _ in chain.astream("x", config):
                break

        await many(leave)
        await _collected()
        assert ended(recorder) == {"cancelled": N}
        assert ended(recorder, "agent_runs_total") == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_stream_of_an_agent_closed_after_a_word_is_cancelled(
        self, recorder: MemoryRecorder
    ) -> None:
        agent = _agent(recorder, FakeModel())

        async def leave() -> None:
            stream = agent.astream("x")
            await anext(stream)
            await stream.aclose()

        await many(leave)
        await _collected()
        assert ended(recorder, "agent_runs_total") == {"cancelled": N}
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_a_stream_of_an_agent_left_with_break_is_cancelled(
        self, recorder: MemoryRecorder
    ) -> None:
        agent = _agent(recorder, FakeModel())

        async def leave() -> None:
            async for _ in agent.astream("x"):
                break

        await many(leave)
        await _collected()
        assert ended(recorder, "agent_runs_total") == {"cancelled": N}
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_streams_that_were_never_begun_are_no_calls(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel()
        for _ in range(N):
            model.stream("x", config)
            model.astream("x", config)
        gc.collect()
        assert ended(recorder) == {}
        nothing_is_left(recorder)


class TestAbandonedWithoutALoop:
    """The same in sync code, and in threads."""

    def test_a_sync_stream_closed_after_a_word_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel()
        for _ in range(N):
            stream: Any = model.stream("x", config)
            next(stream)
            stream.close()
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    def test_a_sync_stream_left_with_break_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel()
        for _ in range(N):
            for _ in model.stream("x", config):
                break
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    def test_a_sync_stream_of_an_agent_left_with_break_is_cancelled(
        self, recorder: MemoryRecorder
    ) -> None:
        agent = _agent(recorder, FakeModel())
        for _ in range(N):
            for _ in agent.stream("x"):
                break
        assert ended(recorder, "agent_runs_total") == {"cancelled": N}
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    def test_streams_of_threads_that_ended_are_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel()

        def leave_many() -> None:
            for _ in range(N // 10):
                for _ in model.stream("x", config):
                    break

        threads = [threading.Thread(target=leave_many) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    def test_calls_open_in_a_loop_that_was_stopped_are_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)

        async def leave_behind() -> None:
            loop = asyncio.get_running_loop()
            kept = [loop.create_task(model.ainvoke("x", config)) for _ in range(N)]
            await asyncio.sleep(0.05)
            assert recorder.value("llm_active_calls") == len(kept)

        asyncio.run(leave_behind())  # which cancels what is still there
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)


class TestBroken:
    async def test_a_stream_that_breaks_in_the_middle_is_an_error(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(breaks=True)

        async def read() -> None:
            with suppress(BrokenError):
                async for _ in model.astream("x", config):
                    pass

        await many(read)
        assert ended(recorder) == {"error": N}
        assert recorder.value("llm_errors_total", error_type="other") == N
        assert recorder.histogram("llm_time_to_first_token_seconds").count == N
        nothing_is_left(recorder)

    def test_a_sync_stream_that_breaks_in_the_middle_is_an_error(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(breaks=True)
        for _ in range(N):
            with suppress(BrokenError):
                for _ in model.stream("x", config):
                    pass
        assert ended(recorder) == {"error": N}
        nothing_is_left(recorder)

    async def test_a_stream_whose_reader_breaks_in_the_middle_is_cancelled(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel()

        async def read() -> None:
            with suppress(BrokenError):
                async for _ in model.astream("x", config):
                    raise BrokenError

        await many(read)
        await _collected()
        assert ended(recorder) == {"cancelled": N}
        nothing_is_left(recorder)

    async def test_an_agent_that_breaks_in_ainvoke_is_an_error(
        self, recorder: MemoryRecorder
    ) -> None:
        agent = _agent(recorder, FakeModel(breaks=True))

        async def run() -> None:
            with suppress(BrokenError):
                await agent.execute("x")

        await many(run)
        assert ended(recorder, "agent_runs_total") == {"error": N}
        assert ended(recorder) == {"error": N}
        nothing_is_left(recorder)

    def test_a_model_that_breaks_in_invoke_is_an_error(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(breaks=True)
        for _ in range(N):
            with suppress(BrokenError):
                model.invoke("x", config)
        assert ended(recorder) == {"error": N}
        nothing_is_left(recorder)

    async def test_calls_break_while_others_are_cancelled_and_others_succeed(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        good, bad, slow = FakeModel(), FakeModel(breaks=True), FakeModel(hangs=True)

        async def all_three() -> None:
            await good.ainvoke("x", config)
            with suppress(BrokenError):
                await bad.ainvoke("x", config)
            await cancelled(slow.ainvoke("x", config))

        await many(all_three)
        assert ended(recorder) == {"success": N, "error": N, "cancelled": N}
        nothing_is_left(recorder)


class TestWhatIsKept:
    async def test_no_run_id_outlives_its_run(self, recorder: MemoryRecorder, config: Any) -> None:
        seen: list[weakref.ref[Any]] = []

        class Watcher(BaseCallbackHandler):
            run_inline = True

            def on_chat_model_start(self, *args: Any, run_id: Any, **kwargs: Any) -> None:
                seen.append(weakref.ref(run_id))

        config = {**config, "callbacks": [*config["callbacks"], Watcher()]}
        model = FakeModel(hangs=True)
        await many(lambda: cancelled(model.ainvoke("x", config)))
        gc.collect()
        assert len(seen) == N
        assert [ref for ref in seen if ref() is not None] == []

    async def test_ten_times_as_many_calls_leave_no_more_objects(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model = FakeModel(hangs=True)

        async def objects_after(n: int) -> int:
            await many(lambda: cancelled(model.ainvoke("x", config)), n)
            pipeline_of(recorder).table.end_abandoned()
            gc.collect()
            return len(gc.get_objects())

        await objects_after(AT_ONCE)
        few = await objects_after(AT_ONCE)
        assert await objects_after(10 * AT_ONCE) - few < AT_ONCE

    async def test_what_was_abandoned_is_over_at_the_next_call_without_any_collection(
        self, recorder: MemoryRecorder, config: Any
    ) -> None:
        model, calls = FakeModel(hangs=True), pipeline_of(recorder)
        await many(lambda: cancelled(model.ainvoke("x", config)), AT_ONCE)
        await FakeModel().ainvoke("x", config)
        assert not calls.table._open


class TestOverHttp:
    """Real clients, real connections."""

    @pytest.mark.parametrize("provider", ["openai", "anthropic"])
    async def test_fifty_calls_of_each_ending_over_http_are_counted_as_such(
        self, provider: str, wire: Wire, recorder: MemoryRecorder, config: Any
    ) -> None:
        n, half = 50, 25
        maker = traffic.openai if provider == "openai" else traffic.anthropic
        model = maker(
            wire, "tester", name := "gpt-4o" if provider == "openai" else "claude-haiku-4-5"
        )

        async def leave() -> None:
            stream: Any = model.astream("x", config)
            await anext(stream)
            await stream.aclose()

        async def broken() -> None:
            with suppress(Exception):
                async for _ in model.astream("x", config):
                    pass

        wire.script(name, *[Answer(hangs=True)] * n)
        for _ in range(2):
            tasks = [asyncio.ensure_future(model.ainvoke("x", config)) for _ in range(half)]
            await traffic.until(lambda: wire.hanging["tester"] == half)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            del tasks, task
            await traffic.until(lambda: wire.hanging["tester"] == 0)
        assert ended(recorder) == {"cancelled": n}
        wire.script(name, *[Answer(hangs=True)] * n)
        await asyncio.gather(*(leave() for _ in range(n)))
        assert ended(recorder) == {"cancelled": 2 * n}
        wire.script(name, *[Answer(breaks=True)] * n)
        await asyncio.gather(*(broken() for _ in range(n)))
        assert ended(recorder) == {"cancelled": 2 * n, "error": n}
        assert recorder.value("llm_errors_total", error_type="connection") == n
        await asyncio.to_thread(wire.settled)
        assert (wire.count(ended="left"), wire.count(ended="broken")) == (2 * n, n)
        nothing_is_left(recorder)


async def _same(text: str) -> str:
    return text


def _agent(recorder: MemoryRecorder, model: BaseChatModel) -> Any:
    class Worker(InstrumentedAgent):
        async def execute(self, text: str) -> object:
            return await model.ainvoke(text)

        async def astream(self, text: str) -> Any:
            async for word in model.astream(text):
                yield word

        def stream(self, text: str) -> Iterator[object]:
            yield from model.stream(text)

    worker = Worker()
    worker.recorder = recorder
    return worker


async def _collected() -> None:
    """Let the loop close generators that nobody holds, and let go of exceptions it has raised."""
    for _ in range(2):
        gc.collect()
        for _ in range(10):
            await asyncio.sleep(0)
