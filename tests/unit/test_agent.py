"""InstrumentedAgent and track_call, on asyncio and trio."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import subprocess
import sys
import textwrap
from abc import ABC, abstractmethod
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar
from unittest.mock import patch

import anyio
import anyio.lowlevel
import pytest
from langchain_core.runnables import RunnableLambda, RunnableSerializable
from pydantic import BaseModel

from agentmetrics import InstrumentedAgent, MemoryRecorder, track_call
from agentmetrics.calls.context import current_run
from tests.unit.scripted import Chat, answer, assert_settled, by, calls, errors, runs

pytestmark = pytest.mark.anyio


def one_call(tokens: int = 5) -> None:
    """A call made without LangChain."""
    with track_call("openai", "gpt-4o") as call:
        call.record_usage(input_tokens=tokens, output_tokens=tokens)


def name_around() -> str | None:
    """The agent whose run is around."""
    run = current_run.get()
    return None if run is None else run.agent_name


class Reviewer(InstrumentedAgent):
    """An agent with a method of every kind."""

    agent_name = "reviewer"

    def run(self, work=one_call):
        return work()

    async def execute(self, work=anyio.lowlevel.checkpoint):
        one_call()
        return await work()

    def stream(self, items=3):
        for number in range(items):
            one_call()
            yield number
        return "done"

    async def astream(self, items=3):
        for number in range(items):
            one_call()
            await anyio.lowlevel.checkpoint()
            yield number


class TestARun:
    def test_a_run_of_a_plain_method_is_counted_with_its_duration_and_totals(self, recorder):
        def two_calls() -> None:
            one_call(5)
            one_call(7)

        Reviewer().run(two_calls)
        assert runs(recorder) == {("reviewer", "success"): 1}
        assert calls(recorder) == {("reviewer", "success"): 2}
        assert recorder.histogram("agent_run_duration_seconds", agent_name="reviewer").count == 1
        assert recorder.histogram("agent_run_llm_calls", agent_name="reviewer").sum == 2
        assert recorder.histogram("agent_run_tokens", agent_name="reviewer").sum == 24
        assert recorder.histogram("agent_run_cost_usd", agent_name="reviewer").sum == (
            pytest.approx(recorder.value("llm_cost_usd_total"))
        )
        assert_settled(recorder)

    async def test_a_run_of_an_async_method_is_counted_too(self, recorder):
        await Reviewer().execute()
        assert runs(recorder) == {("reviewer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 1
        assert_settled(recorder)

    async def test_a_run_of_a_generator_begins_when_it_is_first_read(self, recorder):
        stream, async_stream = Reviewer().stream(), Reviewer().astream()
        assert recorder.value("agent_active_runs") == 0
        stream.close()
        await async_stream.aclose()
        assert runs(recorder) == {}
        assert_settled(recorder)

    def test_a_run_of_a_generator_lasts_until_it_is_exhausted(self, recorder):
        stream = Reviewer().stream(2)
        assert next(stream) == 0
        assert runs(recorder) == {}
        assert by(recorder, "agent_active_runs", "agent_name") == {"reviewer": 1}
        assert next(stream) == 1
        with pytest.raises(StopIteration) as stopped:
            next(stream)
        assert stopped.value.value == "done"
        assert runs(recorder) == {("reviewer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 2
        assert_settled(recorder)

    async def test_a_run_of_an_async_generator_lasts_until_it_is_exhausted(self, recorder):
        assert [number async for number in Reviewer().astream()] == [0, 1, 2]
        assert runs(recorder) == {("reviewer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 3
        assert_settled(recorder)

    async def test_a_run_shows_as_active_while_it_goes_on(self, recorder):
        inside, leave = anyio.Event(), anyio.Event()

        async def work():
            inside.set()
            await leave.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Reviewer().execute, work)
            await inside.wait()
            assert by(recorder, "agent_active_runs", "agent_name") == {"reviewer": 1}
            assert by(recorder, "agentmetrics_open_runs", "kind") == {"agent": 1}
            leave.set()
        assert_settled(recorder)

    @pytest.mark.parametrize(
        "name", ["run", "execute", "invoke", "stream", "arun", "aexecute", "ainvoke", "astream"]
    )
    def test_each_method_of_these_names_is_a_run(self, recorder, name):
        agent = type("Agent", (InstrumentedAgent,), {name: lambda self: 7})()
        assert getattr(agent, name)() == 7
        assert runs(recorder) == {("Agent", "success"): 1}

    def test_no_other_method_is_a_run(self, recorder):
        class Agent(InstrumentedAgent):
            @staticmethod
            def run():
                return 1

            @classmethod
            def execute(cls):
                return cls

            invoke = 7

            def plan(self):
                return 2

        agent = Agent()
        assert (agent.run(), agent.execute(), agent.plan()) == (1, Agent, 2)
        assert runs(recorder) == {}

    def test_a_run_has_the_name_of_its_class_unless_the_agent_was_given_one(self, recorder):
        class Writer(Reviewer):
            pass

        class Named(Writer):
            agent_name = "named"

        for cls in (Reviewer, Writer, Named):
            cls().run()
        assert set(runs(recorder)) == {
            ("reviewer", "success"),
            ("Writer", "success"),
            ("named", "success"),
        }

    def test_a_run_goes_to_the_agents_own_recorder_if_it_has_one(self, recorder):
        own = MemoryRecorder()

        class Own(Reviewer):
            pass

        Own.recorder = own
        agent = Own()
        agent.run(lambda: agent.track_call("p", "m").__enter__().__exit__(None, None, None))
        assert runs(own) == {("Own", "success"): 1}
        assert calls(own) == {("Own", "success"): 1}
        assert runs(recorder) == {}

    def test_a_run_needs_no_super_init(self, recorder):
        class Stubborn(Reviewer):
            __slots__ = ()

            def __init__(self, name):
                pass

        Stubborn("x").run()
        assert runs(recorder) == {("Stubborn", "success"): 1}

    @pytest.mark.parametrize(
        "bases",
        [
            (InstrumentedAgent, BaseModel),
            (BaseModel, InstrumentedAgent),
            (InstrumentedAgent, RunnableSerializable),
            (RunnableSerializable, InstrumentedAgent),
        ],
    )
    def test_a_run_may_be_of_a_pydantic_model(self, recorder, bases):
        class Model(*bases):  # type: ignore[misc]  # bases that are parameters
            agent_name: ClassVar[str] = "model"
            answer: int = 7

            def invoke(self, *args):
                return self.answer

        assert Model(answer=8).invoke(None) == 8
        assert set(Model.model_fields) - {"name"} == {"answer"}
        assert runs(recorder) == {("model", "success"): 1}

    def test_a_run_has_an_agent_name_that_is_cleaned(self, recorder):
        class Odd(Reviewer):
            agent_name = "a\nb" * 5000

        Odd().run()
        [(name, _)] = runs(recorder)
        assert name.startswith("a_ba_b")
        assert len(name) == 128


class TestAMethod:
    def test_a_method_keeps_its_kind_name_signature_and_docstring(self):
        kinds = {
            "execute": inspect.iscoroutinefunction,
            "stream": inspect.isgeneratorfunction,
            "astream": inspect.isasyncgenfunction,
        }

        class Inheriting(InstrumentedAgent, Plain):
            pass

        class Agent(InstrumentedAgent):
            async def execute(self, code: str, *, depth: int = 1) -> str:
                """Do it."""
                return code

        for name, is_of_its_kind in kinds.items():
            assert is_of_its_kind(getattr(Reviewer, name))
            assert is_of_its_kind(getattr(Reviewer(), name))
            assert is_of_its_kind(getattr(Inheriting, name))
        assert Agent.execute.__name__ == "execute"
        assert Agent.execute.__doc__ == "Do it."
        assert list(inspect.signature(Agent.execute).parameters) == ["self", "code", "depth"]

    def test_a_method_may_take_any_arguments(self, recorder):
        class Agent(InstrumentedAgent):
            def run(self, *args, **kwargs):
                return args, kwargs

        assert Agent().run(1, 2, method=3, entry=4) == ((1, 2), {"method": 3, "entry": 4})

    async def test_a_method_that_returns_a_coroutine_lasts_until_that_is_over(self, recorder):
        agent = Reviewer()
        coroutine = agent.run(lambda: anyio.lowlevel.checkpoint())
        assert runs(recorder) == {}
        assert recorder.value("agent_active_runs") == 1
        await coroutine
        assert runs(recorder) == {("reviewer", "success"): 1}

    async def test_a_method_that_returns_a_generator_lasts_until_that_is_over(self, recorder):
        class Agent(InstrumentedAgent):
            def invoke(self, generator):
                return generator

        def numbers():
            one_call()
            yield 1

        async def anumbers():
            one_call()
            yield 1

        assert list(Agent().invoke(numbers())) == [1]
        assert [n async for n in Agent().invoke(anumbers())] == [1]
        assert runs(recorder) == {("Agent", "success"): 2}
        assert calls(recorder) == {("Agent", "success"): 2}
        assert_settled(recorder)

    async def test_a_method_that_returns_another_awaitable_is_over_and_returns_just_that(
        self, recorder
    ):
        awaitable = _Suspension()
        assert Reviewer().run(lambda: awaitable) is awaitable
        assert runs(recorder) == {("reviewer", "success"): 1}

    def test_a_method_gets_what_is_sent_and_thrown_into_its_generator(self, recorder):
        class Agent(InstrumentedAgent):
            def stream(self):
                got: list[str] = []
                while len(got) < 2:
                    try:
                        got.append((yield len(got)))
                    except KeyError as error:
                        got.append(error.args[0])
                return got

        stream = Agent().stream()
        assert next(stream) == 0
        assert stream.send("a") == 1
        with pytest.raises(StopIteration) as stopped:
            stream.throw(KeyError("b"))
        assert stopped.value.value == ["a", "b"]
        assert runs(recorder) == {("Agent", "success"): 1}

    async def test_a_method_gets_what_is_sent_and_thrown_into_its_async_generator(self, recorder):
        got: list[str] = []

        class Agent(InstrumentedAgent):
            async def astream(self):
                while len(got) < 2:
                    try:
                        got.append((yield len(got)))
                    except KeyError as error:
                        got.append(error.args[0])

        stream = Agent().astream()
        assert await stream.asend(None) == 0
        assert await stream.asend("a") == 1
        with pytest.raises(StopAsyncIteration):
            await stream.athrow(KeyError("b"))
        assert got == ["a", "b"]
        assert runs(recorder) == {("Agent", "success"): 1}


@pytest.mark.asyncio_alone
class TestAMethodThatReturnsATask:
    async def test_a_method_that_returns_a_task_returns_just_that_and_lasts_until_it_is_done(
        self, recorder
    ):
        task = asyncio.ensure_future(asyncio.sleep(0, 7))
        assert Reviewer().run(lambda: task) is task
        assert recorder.value("agent_active_runs") == 1
        assert [await task, await task] == [7, 7]
        assert runs(recorder) == {("reviewer", "success"): 1}
        assert_settled(recorder)

    async def test_a_method_that_returns_a_task_has_the_calls_of_the_task(self, recorder):
        async def work():
            one_call()

        await Reviewer().run(lambda: asyncio.ensure_future(work()))
        assert calls(recorder) == {("reviewer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 1

    async def test_a_method_that_returns_a_task_ends_as_cancelled_with_it(self, recorder):
        task = Reviewer().run(lambda: asyncio.ensure_future(asyncio.sleep(60)))
        task.cancel()
        await asyncio.wait({task})
        assert runs(recorder) == {("reviewer", "cancelled"): 1}
        assert_settled(recorder)

    async def test_a_method_that_returns_a_task_ends_with_its_error_which_stays_unretrieved(
        self, recorder
    ):
        async def fail():
            raise ValueError

        untold = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: untold.append(told))
        task = Reviewer().run(lambda: asyncio.ensure_future(fail()))
        await asyncio.wait({task})
        del task
        gc.collect()
        assert runs(recorder) == {("reviewer", "error"): 1}
        assert [told["message"] for told in untold] == ["Task exception was never retrieved"]


class Plain:
    """No agent, but what an agent may inherit from."""

    def run(self):
        return "plain"

    async def execute(self):
        return "plain"

    def stream(self):
        yield "plain"

    async def astream(self):
        yield "plain"


class TestAnInheritedMethod:
    async def test_an_inherited_method_is_a_run_of_the_agent_and_of_no_other_class(self, recorder):
        class Agent(InstrumentedAgent, Plain):
            pass

        agent = Agent()
        assert (agent.run(), await agent.execute(), *agent.stream()) == ("plain",) * 3
        assert [item async for item in agent.astream()] == ["plain"]
        assert Plain().run() == "plain"
        assert runs(recorder) == {("Agent", "success"): 4}
        assert_settled(recorder)

    def test_an_inherited_method_is_the_one_that_python_would_have_found(self, recorder):
        class Agent(InstrumentedAgent, Plain):
            pass

        class Special(Plain):
            def run(self):
                return f"special {super().run()}"

        class SpecialAgent(Agent, Special):
            pass

        assert SpecialAgent().run() == "special plain"
        assert Agent().run() == "plain"
        assert runs(recorder) == {("SpecialAgent", "success"): 1, ("Agent", "success"): 1}

    def test_an_inherited_method_is_abstract_only_until_a_later_class_defines_it(self, recorder):
        class Abstract(ABC):
            @abstractmethod
            def run(self): ...

        class Agent(InstrumentedAgent, Abstract):
            pass

        class Concrete(Abstract):
            def run(self):
                return 7

        class ConcreteAgent(Agent, Concrete):
            pass

        with pytest.raises(TypeError, match="abstract"):
            Agent()  # type: ignore[abstract]
        assert ConcreteAgent().run() == 7
        assert runs(recorder) == {("ConcreteAgent", "success"): 1}

    def test_an_inherited_method_may_be_patched_where_it_is_defined(self, recorder):
        class Agent(InstrumentedAgent, Plain):
            pass

        with patch.object(Plain, "run", lambda self: "patched"):
            assert Agent().run() == "patched"
        with patch.object(Plain, "run", return_value="mocked"):
            assert Agent().run() == "mocked"
        assert Agent().run() == "plain"
        assert runs(recorder) == {("Agent", "success"): 2}  # a mock is no method

    def test_an_inherited_method_of_a_dataclass_with_slots_is_a_run(self, recorder):
        @dataclass(slots=True)
        class Agent(InstrumentedAgent, Plain):
            depth: int = 1

        assert Agent().run() == "plain"
        assert runs(recorder) == {("Agent", "success"): 1}

    def test_an_inherited_method_from_two_agents_is_one_run(self, recorder):
        class Left(InstrumentedAgent, Plain):
            pass

        class Right(InstrumentedAgent, Plain):
            pass

        class Both(Left, Right):
            def run(self):
                return super().run()

        assert Both().run() == "plain"
        assert runs(recorder) == {("Both", "success"): 1}


class TestNesting:
    def test_a_method_that_calls_another_of_its_object_is_one_run(self, recorder):
        class Agent(InstrumentedAgent):
            def run(self):
                one_call()
                return list(self.stream())

            def stream(self):
                one_call()
                yield self.invoke()

            def invoke(self):
                one_call()

        Agent().run()
        assert runs(recorder) == {("Agent", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 3
        assert_settled(recorder)

    async def test_super_is_one_run_with_the_method_that_calls_it(self, recorder):
        class Derived(Reviewer):
            def run(self, work=one_call):
                return super().run(work)

            async def execute(self, work=anyio.lowlevel.checkpoint):
                return await super().execute(work)

            async def astream(self, items=3):
                async for item in super().astream(items):
                    yield item

        Derived().run()
        await Derived().execute()
        assert [item async for item in Derived().astream()] == [0, 1, 2]
        assert runs(recorder) == {("Derived", "success"): 3}
        assert calls(recorder) == {("Derived", "success"): 5}
        assert_settled(recorder)

    def test_a_method_that_calls_itself_begins_a_further_run(self, recorder):
        class Agent(InstrumentedAgent):
            def run(self, depth):
                one_call()
                if depth:
                    self.run(depth - 1)

        Agent().run(2)
        assert runs(recorder) == {("Agent", "success"): 3}
        assert recorder.histogram("agent_run_llm_calls").sum == 3
        assert recorder.histogram("agent_run_llm_calls").buckets[1.0] == 3  # one in each
        assert_settled(recorder)

    def test_another_object_is_another_run_and_its_calls_are_its_own(self, recorder):
        class Planner(InstrumentedAgent):
            def run(self):
                one_call()
                Reviewer().run()
                one_call()

        Planner().run()
        assert runs(recorder) == {("Planner", "success"): 1, ("reviewer", "success"): 1}
        assert calls(recorder) == {("Planner", "success"): 2, ("reviewer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="Planner").sum == 2
        assert recorder.histogram("agent_run_llm_calls", agent_name="reviewer").sum == 1

    def test_two_objects_of_one_class_are_two_runs(self, recorder):
        Reviewer().run(lambda: Reviewer().run())
        assert runs(recorder) == {("reviewer", "success"): 2}

    async def test_runs_of_one_object_at_once_are_each_counted(self, recorder):
        agent, together = Reviewer(), anyio.Event()

        async def work():
            await together.wait()
            one_call()

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(agent.execute, work)
            await anyio.wait_all_tasks_blocked()
            assert recorder.value("agent_active_runs") == 5
            together.set()
        assert runs(recorder) == {("reviewer", "success"): 5}
        totals = recorder.histogram("agent_run_llm_calls")
        assert (totals.count, totals.sum) == (5, 10)
        assert_settled(recorder)

    async def test_tasks_and_threads_started_inside_belong_to_the_run(self, recorder):
        async def work():
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(anyio.to_thread.run_sync, lambda: one_call())

        await Reviewer().execute(work)
        assert calls(recorder) == {("reviewer", "success"): 3}
        assert recorder.histogram("agent_run_llm_calls").sum == 3

    def test_after_the_run_its_name_is_nobodys(self, recorder):
        Reviewer().run()
        assert current_run.get() is None
        one_call()
        assert calls(recorder)["unknown", "success"] == 1

    async def test_a_task_that_outlives_the_run_keeps_the_agents_name(self, recorder):
        leave = anyio.Event()

        async def later():
            await leave.wait()
            one_call()

        async with anyio.create_task_group() as tasks:

            async def work():
                tasks.start_soon(later)

            await Reviewer().execute(work)
            assert recorder.histogram("agent_run_llm_calls").sum == 1
            leave.set()
        assert calls(recorder) == {("reviewer", "success"): 2}
        assert recorder.histogram("agent_run_llm_calls").sum == 1  # a run that is over is over


class TestBetweenTwoYields:
    def test_between_two_yields_the_readers_own_calls_are_not_the_agents(self, recorder):
        for _ in Reviewer().stream(2):
            one_call()
        assert calls(recorder) == {("reviewer", "success"): 2, ("unknown", "success"): 2}
        assert recorder.histogram("agent_run_llm_calls").sum == 2

    async def test_between_two_yields_the_readers_own_calls_are_not_the_async_agents(
        self, recorder
    ):
        async for _ in Reviewer().astream(2):
            one_call()
        assert calls(recorder) == {("reviewer", "success"): 2, ("unknown", "success"): 2}

    def test_between_two_yields_a_reader_that_is_an_agent_keeps_its_own(self, recorder):
        class Planner(InstrumentedAgent):
            def run(self):
                for _ in Reviewer().stream(2):
                    one_call()

        Planner().run()
        assert calls(recorder) == {("reviewer", "success"): 2, ("Planner", "success"): 2}

    def test_each_step_of_a_generator_may_come_from_another_thread_or_context(self, recorder):
        stream = Reviewer().stream(3)
        for number in range(3):
            assert contextvars.copy_context().run(next, stream) == number
        assert next(stream, None) is None
        assert runs(recorder) == {("reviewer", "success"): 1}
        assert current_run.get() is None


class TestTheEnd:
    @pytest.mark.parametrize(
        ("error", "status"),
        [(ValueError("secret"), "error"), (KeyboardInterrupt(), "cancelled")],
    )
    def test_a_run_that_an_exception_ends_says_so_and_the_exception_goes_on(
        self, recorder, error, status
    ):
        def work():
            raise error

        with pytest.raises(type(error)) as raised:
            Reviewer().run(work)
        assert raised.value is error
        assert runs(recorder) == {("reviewer", status): 1}
        assert "secret" not in str(recorder.snapshot())
        assert_settled(recorder)

    async def test_an_exception_in_a_coroutine_or_generator_ends_its_run_too(self, recorder):
        class Failing(InstrumentedAgent):
            async def execute(self):
                raise ValueError

            def stream(self):
                yield 1
                raise ValueError

            async def astream(self):
                yield 1
                raise ValueError

        agent = Failing()
        with pytest.raises(ValueError):
            await agent.execute()
        with pytest.raises(ValueError):
            list(agent.stream())
        with pytest.raises(ValueError):
            [item async for item in agent.astream()]
        assert runs(recorder) == {("Failing", "error"): 3}
        assert_settled(recorder)

    async def test_a_cancelled_run_ends_as_cancelled(self, recorder):
        inside = anyio.Event()

        async def work():
            inside.set()
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Reviewer().execute, work)
            await inside.wait()
            tasks.cancel_scope.cancel()
        assert runs(recorder) == {("reviewer", "cancelled"): 1}
        assert_settled(recorder)

    async def test_a_timeout_of_its_own_ends_a_run_with_an_error(self, recorder):
        async def work():
            with anyio.fail_after(0):
                await anyio.sleep_forever()

        with pytest.raises(TimeoutError):
            await Reviewer().execute(work)
        assert runs(recorder) == {("reviewer", "error"): 1}

    async def test_a_cancelled_stream_ends_as_cancelled(self, recorder):
        class Slow(InstrumentedAgent):
            async def astream(self):
                yield 1
                inside.set()
                await anyio.sleep_forever()

        async def read():
            async with aclosing(Slow().astream()) as stream:
                async for _ in stream:
                    pass

        inside = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await inside.wait()
            tasks.cancel_scope.cancel()
        assert runs(recorder) == {("Slow", "cancelled"): 1}
        assert_settled(recorder)

    def test_a_generator_that_its_reader_left_ends_as_cancelled(self, recorder):
        cleaned = []

        class Agent(InstrumentedAgent):
            def stream(self):
                try:
                    yield 1
                finally:
                    cleaned.append(name_around())

        for _ in Agent().stream():
            break
        gc.collect()
        assert cleaned == ["Agent"]
        assert runs(recorder) == {("Agent", "cancelled"): 1}
        assert_settled(recorder)

    async def test_an_async_generator_that_its_reader_closed_ends_as_cancelled(self, recorder):
        cleaned = []

        class Agent(InstrumentedAgent):
            async def astream(self):
                try:
                    yield 1
                finally:
                    await anyio.lowlevel.checkpoint()
                    cleaned.append(name_around())

        async with aclosing(Agent().astream()) as stream:
            assert await stream.asend(None) == 1
        assert cleaned == ["Agent"]
        assert runs(recorder) == {("Agent", "cancelled"): 1}
        assert_settled(recorder)

    async def test_a_stream_that_ends_quietly_when_it_is_left_ends_as_cancelled(self, recorder):
        class Agent(InstrumentedAgent):
            def stream(self):
                with suppress(GeneratorExit):
                    yield 1

            async def astream(self):
                with suppress(GeneratorExit):
                    yield 1

        with closing(Agent().stream()) as stream:
            next(stream)
        async with aclosing(Agent().astream()) as astream:
            await astream.asend(None)
        assert runs(recorder) == {("Agent", "cancelled"): 2}
        assert_settled(recorder)

    def test_a_coroutine_that_is_thrown_away_leaves_nothing_open(self, recorder):
        def step(coroutine):
            coroutine.send(None)

        coroutine = Reviewer().execute(functools.partial(_suspended))
        contextvars.copy_context().run(step, coroutine)
        assert recorder.value("agent_active_runs") == 1
        coroutine.close()  # in another context than it began in
        assert runs(recorder) == {("reviewer", "cancelled"): 1}
        assert current_run.get() is None
        assert_settled(recorder)


class _Suspension:
    def __await__(self):
        yield


async def _suspended():
    await _Suspension()


@pytest.mark.asyncio_alone
class TestAMethodThatIsALangChainRunnable:
    async def test_a_method_that_is_a_langchain_runnable_may_be_a_generator(self, recorder):
        class Agent(InstrumentedAgent):
            def stream(self, text):
                yield from text

            async def astream(self, text):
                for letter in text:
                    yield letter

        assert RunnableLambda(Agent().stream).invoke("abc") == "abc"
        assert "".join(RunnableLambda(Agent().stream).stream("abc")) == "abc"
        astream = RunnableLambda(Agent().astream).astream("abc")
        assert [letter async for letter in astream] == ["a", "b", "c"]
        assert runs(recorder) == {("Agent", "success"): 3}
        assert_settled(recorder)


@pytest.mark.asyncio_alone
class TestLangChainInside:
    def test_langchain_inside_an_agent_is_attributed_without_passing_callbacks(self, recorder):
        Reviewer().run(lambda: (RunnableLambda(lambda x: x) | Chat()).invoke("hi"))
        assert calls(recorder) == {("reviewer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 1
        assert recorder.histogram("agent_run_tokens").sum == 15
        assert_settled(recorder)

    async def test_langchain_inside_an_agent_is_attributed_on_an_event_loop_too(self, recorder):
        await Reviewer().execute(lambda: Chat().ainvoke("hi"))
        assert calls(recorder) == {("reviewer", "success"): 2}
        assert_settled(recorder)

    def test_langchain_outside_of_agents_is_not_recorded(self, recorder):
        Reviewer().run()
        Chat().invoke("hi")
        assert calls(recorder) == {("reviewer", "success"): 1}

    def test_a_failure_of_langchain_inside_an_agent_is_the_agents_error(self, recorder):
        with pytest.raises(TimeoutError):
            Reviewer().run(lambda: Chat(answers=[TimeoutError()]).invoke("hi"))
        assert calls(recorder) == {("reviewer", "error"): 1}
        assert runs(recorder) == {("reviewer", "error"): 1}
        assert by(recorder, "llm_errors_total", "agent_name") == {"reviewer": 1}


RESPONSES = {
    "OpenAI": (
        SimpleNamespace(
            model="gpt-4o-2024-08-06",
            usage=SimpleNamespace(
                prompt_tokens=100,
                completion_tokens=50,
                prompt_tokens_details=SimpleNamespace(cached_tokens=40, audio_tokens=None),
                completion_tokens_details=None,
            ),
        ),
        "gpt-4o-2024-08-06",
    ),
    "Anthropic": (
        SimpleNamespace(
            model="claude-sonnet-4-5",
            usage=SimpleNamespace(
                input_tokens=60,
                output_tokens=50,
                cache_read_input_tokens=40,
                cache_creation_input_tokens=0,
            ),
        ),
        "claude-sonnet-4-5",
    ),
    "Gemini": (
        SimpleNamespace(
            model_version="gemini-2.5-pro",
            usage_metadata=SimpleNamespace(
                prompt_token_count=100,
                candidates_token_count=30,
                thoughts_token_count=20,
                cached_content_token_count=40,
                tool_use_prompt_token_count=None,
            ),
        ),
        "gemini-2.5-pro",
    ),
    "Bedrock": (
        {"usage": {"inputTokens": 60, "outputTokens": 50, "cacheReadInputTokens": 40}},
        "asked-for",
    ),
}


def in_a_fresh_interpreter(code: str) -> str:
    """What the code prints."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestLangChain:
    def test_langchain_is_not_imported_by_agents_and_calls_of_their_own(self):
        printed = in_a_fresh_interpreter(
            """
            import sys
            from agentmetrics import InstrumentedAgent, get_recorder, track_call

            class Plain(InstrumentedAgent):
                def run(self):
                    with track_call("openai", "gpt-4o-mini") as call:
                        call.record_usage(10, 5)

            Plain().run()
            print(get_recorder().value("llm_calls_total", agent_name="Plain"))
            print([name for name in sys.modules if name.startswith("lang")])
            """
        )
        assert printed.split("\n") == ["1.0", "[]"]

    @pytest.mark.parametrize("when", ["before", "inside"])
    def test_langchain_that_is_imported_later_still_finds_the_agent(self, when):
        imports = "from langchain_core.language_models import FakeListChatModel"
        printed = in_a_fresh_interpreter(
            f"""
            from agentmetrics import InstrumentedAgent, get_recorder
            {imports if when == "before" else ""}

            class Late(InstrumentedAgent):
                def run(self):
                    {imports if when == "inside" else "pass"}
                    FakeListChatModel(responses=["x"]).invoke("y")

            Late().run()
            print(get_recorder().value("llm_calls_total", agent_name="Late"))
            """
        )
        assert printed == "1.0"


class TestTrackCall:
    @pytest.mark.parametrize(("response", "model"), RESPONSES.values(), ids=RESPONSES.keys())
    def test_a_tracked_call_takes_usage_and_the_serving_model_from_a_response(
        self, recorder, response, model
    ):
        with track_call("someone", "asked-for") as call:
            call.record_response(response)
        assert by(recorder, "llm_tokens_total", "model", "token_type") == {
            ("asked-for", "input"): 100,
            ("asked-for", "output"): 50,
        }
        served = {} if model == "asked-for" else {("asked-for", model): 1}  # Bedrock names none
        assert by(recorder, "llm_served_calls_total", "model", "served_model") == served
        assert by(recorder, "llm_token_details_total", "token_detail")["cache_read"] == 40
        assert errors(recorder) == {}

    async def test_a_tracked_call_works_with_async_with_too(self, recorder):
        async with track_call("openai", "gpt-4o", agent_name="planner") as call:
            assert by(recorder, "llm_active_calls", "agent_name") == {"planner": 1}
            call.record_usage(1000, 100)
        assert calls(recorder) == {("planner", "success"): 1}
        assert recorder.value("llm_cost_usd_total") == pytest.approx(0.0035)
        assert_settled(recorder)

    def test_a_tracked_call_counts_every_kind_of_token(self, recorder):
        with track_call("anthropic", "claude-sonnet-4-5") as call:
            call.record_usage(
                100, 50, cache_read_tokens=10, cache_creation_tokens=20,
                cache_creation_1h_tokens=5, reasoning_tokens=7, audio_input_tokens=3,
                audio_output_tokens=2,
            )  # fmt: skip
        assert by(recorder, "llm_token_details_total", "token_detail") == {
            "cache_read": 10,
            "cache_creation": 20,
            "reasoning": 7,
            "audio_input": 3,
            "audio_output": 2,
        }

    def test_a_tracked_call_takes_the_usage_that_was_said_last(self, recorder):
        with track_call("openai", "gpt-4o") as call:
            call.record_usage(1, 1)
            call.record_usage(10, 5)
        assert recorder.value("llm_tokens_total") == 15

    def test_a_tracked_call_knows_the_first_token_of_a_stream(self, recorder):
        with track_call("openai", "gpt-4o") as call:
            call.record_first_token()
            call.record_first_token()
            call.record_usage(10, 5)
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1
        assert recorder.histogram("llm_time_per_output_token_seconds").count == 1

    def test_a_tracked_call_ends_as_what_the_exception_makes_of_it(self, recorder):
        for error in (TimeoutError(), KeyboardInterrupt()):
            with pytest.raises(type(error)), track_call("openai", "gpt-4o"):
                raise error
        assert calls(recorder) == {("unknown", "error"): 1, ("unknown", "cancelled"): 1}
        assert by(recorder, "llm_errors_total", "error_type") == {"timeout": 1}
        assert_settled(recorder)

    async def test_a_tracked_call_that_is_cancelled_is_cancelled(self, recorder):
        inside = anyio.Event()

        async def call():
            async with track_call("openai", "gpt-4o"):
                inside.set()
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await inside.wait()
            tasks.cancel_scope.cancel()
        assert calls(recorder) == {("unknown", "cancelled"): 1}
        assert_settled(recorder)

    @pytest.mark.parametrize("wrong", [-1, float("nan"), "12", "my secret prompt", [1], True])
    def test_a_tracked_call_is_counted_without_tokens_that_cannot_be(self, recorder, wrong):
        with track_call("openai", "gpt-4o") as call:
            call.record_usage(input_tokens=wrong, output_tokens=5)
        with track_call("openai", "gpt-4o") as call:
            call.record_response({"usage": {"prompt_tokens": wrong}})
        assert calls(recorder) == {("unknown", "success"): 2}
        assert recorder.value("llm_tokens_total") == 5
        assert recorder.value("llm_cost_usd_total") == 0
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert errors(recorder) == {"record_usage": 1, "record_response": 1}

    @pytest.mark.parametrize("response", [None, "text", {}, object(), answer(tokens=None)])
    def test_a_tracked_call_of_a_response_without_usage_is_counted(self, recorder, response):
        with track_call("openai", "gpt-4o") as call:
            call.record_response(response)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 0
        assert errors(recorder) == {}

    def test_a_tracked_call_belongs_to_the_agent_around_unless_told_otherwise(self, recorder):
        def work():
            one_call()
            with track_call("openai", "gpt-4o", agent_name="other"):
                pass

        Reviewer().run(work)
        assert calls(recorder) == {("reviewer", "success"): 1, ("other", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 1

    def test_a_tracked_call_of_an_agent_is_the_agents(self, recorder):
        agent = Reviewer()
        with agent.track_call(provider="openai", model="gpt-4o"):
            pass
        assert calls(recorder) == {("reviewer", "success"): 1}

    @pytest.mark.parametrize("wrong", [None, 5, ["a"], "a\nb" * 5000, object()])
    def test_a_tracked_call_takes_any_name_and_cleans_it(self, recorder, wrong):
        with track_call(wrong, wrong, agent_name=wrong) as call:
            call.record_usage(1, 1)
        assert recorder.value("llm_calls_total", status="success") == 1
        assert recorder.value("llm_tokens_total") == 2
        assert_settled(recorder)


class Unreliable(MemoryRecorder):
    """A backend whose series fail while a program runs."""

    def bind_counter(self, metric, values):
        raise OSError("secret")


class TestABackendThatFails:
    """Nothing that goes wrong in metrics reaches the agent."""

    async def test_a_backend_that_fails_is_never_noticed_by_the_agent(self):
        class Agent(Reviewer):
            recorder = Unreliable()

        agent = Agent()
        assert agent.run(lambda: 7) == 7
        await agent.execute()
        assert list(agent.stream()) == [0, 1, 2]
        assert [item async for item in agent.astream()] == [0, 1, 2]

    def test_a_backend_that_fails_is_never_noticed_by_a_tracked_call(self, caplog):
        recorder = Unreliable()
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_usage("many", 1)  # type: ignore[arg-type]
            call.record_usage(1, 1)
        assert_settled(recorder)
        assert "OSError" in caplog.text
        assert "secret" not in caplog.text

    def test_a_backend_that_fails_does_not_hide_the_agents_own_error(self):
        class Agent(Reviewer):
            recorder = Unreliable()

        def work():
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            Agent().run(work)
        tracked = track_call("openai", "gpt-4o", recorder=Unreliable())
        with pytest.raises(KeyError, match="mine"), tracked:
            raise KeyError("mine")
