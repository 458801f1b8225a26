"""Every way to run a model against every way to end, over HTTP, beside the wire's own count.

Two tables: ``WAYS`` to run, ``ENDINGS`` to come to. Each pair that can exist is a test; ``exists``
says which cannot, and why. Whatever happens, each call ends exactly once and nothing is left.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableLambda

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from agentmetrics.pipeline import pipeline_of
from tests.integration.apps import traffic
from tests.integration.apps.graphs import followed
from tests.integration.test_providers import equals_the_wire
from tests.services.wire import Answer, Refusal, Wire
from tests.unit.scripted import by

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.asyncio_alone,
    pytest.mark.usefixtures("only_our_objects"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]

AGENT = "tester"
MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5"}
XYZ: Any = ["x", "y", "z"]
TASK: Any = {"messages": [("user", "x")]}
SAME: Any = RunnableLambda(lambda x: x)
NEW_PYTHON = sys.version_info >= (3, 11)


@dataclass(frozen=True)
class Way:
    """A way to run: ``run(model, config)``, in a thread of its own or, when async, on the loop.

    ``calls`` is how many it makes when all goes well, ``attempts`` when each of them fails;
    ``None`` where the first failure ends the rest, begun or not. ``raises`` is False where
    failures are returned.
    """

    run: Callable[[Any, Any], Any]
    calls: int = 1
    attempts: int | None = 1
    streams: bool = False
    raises: bool = True


def _all(items: Iterator[Any]) -> list[Any]:
    return list(items)


async def _aall(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _events_v3(model: Any, config: Any) -> None:
    async with await model.astream_events("x", config, version="v3") as stream:
        await stream.output


async def _graph_events_v3(model: Any, config: Any) -> None:
    async with await _graph(model).astream_events(TASK, config, version="v3") as stream:
        assert await stream.output()


def _graph(model: Any) -> Any:
    return create_agent(model, name=AGENT)


def _followed(model: Any, config: Any) -> Any:
    recorder = config["callbacks"][0]._explicit
    return followed(_graph(model), AGENT, recorder)


def _twice(model: Any) -> Any:
    return model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False)


def _or_again(model: Any) -> Any:
    return model.with_fallbacks([model])


SYNC_WAYS: dict[str, Way] = {
    "invoke": Way(lambda m, c: m.invoke("x", c)),
    "a chain's invoke": Way(lambda m, c: (SAME | m).invoke("x", c)),
    "a graph's invoke": Way(lambda m, c: _graph(m).invoke(TASK, c)),
    "with_retry": Way(lambda m, c: _twice(m).invoke("x", c), attempts=2),
    "with_fallbacks": Way(lambda m, c: _or_again(m).invoke("x", c), attempts=2),
    "batch": Way(lambda m, c: m.batch(XYZ, c), calls=3, attempts=None),
    "batch, errors returned": Way(
        lambda m, c: m.batch(XYZ, c, return_exceptions=True), calls=3, attempts=3, raises=False
    ),
    "batch_as_completed": Way(
        lambda m, c: _all(m.batch_as_completed(XYZ, c)), calls=3, attempts=None
    ),
    "batch_as_completed, errors returned": Way(
        lambda m, c: _all(m.batch_as_completed(XYZ, c, return_exceptions=True)),
        calls=3,
        attempts=3,
        raises=False,
    ),
    "stream": Way(lambda m, c: _all(m.stream("x", c)), streams=True),
    "a chain's stream": Way(lambda m, c: _all((SAME | m).stream("x", c)), streams=True),
    "a graph's stream": Way(
        lambda m, c: _all(_graph(m).stream(TASK, c, stream_mode="messages")), streams=True
    ),
    "stream_events v3": Way(
        lambda m, c: m.stream_events("x", c, version="v3").output, streams=True
    ),
    "a graph's stream_events v3": Way(
        lambda m, c: _graph(m).stream_events(TASK, c, version="v3").output, streams=True
    ),
}
ASYNC_WAYS: dict[str, Way] = {
    "ainvoke": Way(lambda m, c: m.ainvoke("x", c)),
    "a chain's ainvoke": Way(lambda m, c: (SAME | m).ainvoke("x", c)),
    "a graph's ainvoke": Way(lambda m, c: _followed(m, c).ainvoke(TASK, c)),
    "with_retry, async": Way(lambda m, c: _twice(m).ainvoke("x", c), attempts=2),
    "with_fallbacks, async": Way(lambda m, c: _or_again(m).ainvoke("x", c), attempts=2),
    "abatch": Way(lambda m, c: m.abatch(XYZ, c), calls=3, attempts=3),
    "abatch, errors returned": Way(
        lambda m, c: m.abatch(XYZ, c, return_exceptions=True), calls=3, attempts=3, raises=False
    ),
    "abatch_as_completed": Way(
        lambda m, c: _aall(m.abatch_as_completed(XYZ, c)), calls=3, attempts=3
    ),
    "abatch_as_completed, errors returned": Way(
        lambda m, c: _aall(m.abatch_as_completed(XYZ, c, return_exceptions=True)),
        calls=3,
        attempts=3,
        raises=False,
    ),
    "astream": Way(lambda m, c: _aall(m.astream("x", c)), streams=True),
    "a chain's astream": Way(lambda m, c: _aall((SAME | m).astream("x", c)), streams=True),
    "astream_events v2": Way(
        lambda m, c: _aall(m.astream_events("x", c, version="v2")), streams=True
    ),
    "a chain's astream_events v2": Way(
        lambda m, c: _aall((SAME | m).astream_events("x", c, version="v2")), streams=True
    ),
    "astream_events v3": Way(_events_v3, streams=True),
}
if NEW_PYTHON:  # before, LangGraph hands no callbacks on to async nodes, its own for streams either
    ASYNC_WAYS |= {
        "a graph's astream": Way(
            lambda m, c: _aall(_graph(m).astream(TASK, c, stream_mode="messages")), streams=True
        ),
        "a graph's astream_events v2": Way(
            lambda m, c: _aall(_graph(m).astream_events(TASK, c, version="v2")), streams=True
        ),
        "a graph's astream_events v3": Way(_graph_events_v3, streams=True),
    }
WAYS = {**SYNC_WAYS, **ASYNC_WAYS}


@dataclass(frozen=True)
class Ending:
    """What every call of a way comes to, and how: the wire's answer, or the client's options."""

    status: str
    error_type: str = ""
    answer: Answer | Refusal = field(default_factory=Answer)
    options: Mapping[str, Any] = field(default_factory=dict)
    streams_only: bool = False
    nowhere: bool = False
    """Nobody listens at the address."""
    unseen: bool = False
    """The wire cannot tell it from something else, or is not asked at all."""


TOO_LONG = Refusal(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")
ENDINGS: dict[str, Ending] = {
    "success": Ending("success", answer=Answer(cache_read=1_000, output=500, reasoning=50)),
    "401": Ending("error", "authentication", Refusal(401)),
    "400": Ending("error", "invalid_request", Refusal(400)),
    "a context too long": Ending(
        "error", "context_length", Refusal(400, "context_length_exceeded")
    ),
    "a content filter": Ending("error", "content_filter", Refusal(400, "content_filter")),
    "429": Ending("error", "rate_limit", Refusal(429)),
    "500": Ending("error", "server_error", Refusal(500)),
    "a dropped connection": Ending("error", "connection", Answer(breaks=True)),
    "a truncated stream": Ending("success", answer=Answer(truncates=True), streams_only=True),
    "the client's timeout": Ending(
        "error", "timeout", Answer(hangs=True), {"timeout": 0.2}, unseen=True
    ),
    "nobody at the address": Ending("error", "connection", nowhere=True, unseen=True),
}
"""Cancelled and interrupted calls are below: who ends those is not the provider."""


def exists(way: Way, ending: Ending) -> bool:
    """Whether this way can come to this ending, and the number of its calls be known."""
    if ending.streams_only and not way.streams:
        return False  # an answer that ends early is no JSON: that is the dropped connection
    # Where the first failure ends the rest, only the wire knows how many had begun.
    return not (ending.unseen and way.attempts is None)


TABLE = [(way, ending) for way in WAYS for ending in ENDINGS if exists(WAYS[way], ENDINGS[ending])]

OF_ANTHROPIC: dict[str, Ending] = {
    "success": Ending("success", answer=Answer(cache_read=1_000, cache_creation=50, output=500)),
    "a context too long": Ending("error", "context_length", TOO_LONG),
    "overloaded": Ending("error", "server_error", Refusal(529, "overloaded_error")),
    "a dropped connection": ENDINGS["a dropped connection"],
    "a truncated stream": ENDINGS["a truncated stream"],
    "the client's timeout": ENDINGS["the client's timeout"],
}
"""Where its wire, its SDK or its package say it in their own way."""
TABLE_OF_ANTHROPIC = [
    (way, ending)
    for way in ("invoke", "ainvoke", "stream", "astream", "astream_events v2", "stream_events v3")
    for ending in OF_ANTHROPIC
    if exists(WAYS[way], OF_ANTHROPIC[ending])
]


@pytest.fixture
def handler(recorder: MemoryRecorder) -> MetricsCallbackHandler:
    """One that names the agent of all calls."""
    return MetricsCallbackHandler(recorder, agent_name=AGENT)


@pytest.fixture
def model(wire: Wire) -> BaseChatModel:
    return traffic.openai(wire, AGENT, MODELS["openai"])


FORSAKES = "abatch_as_completed"
"""When one of its tasks has failed it waits for the others no more, and they fail unheard."""


@pytest.fixture
async def forsaken(way: str) -> AsyncIterator[None]:
    """Do not let the event loop report those tasks."""
    if way != FORSAKES:
        yield
        return
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: None)
    yield
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(before)


async def outcome(way: Way, model: Any, config: Any) -> str:
    """Run it; ``"raised"`` or ``"returned"``, for what was raised would keep its frames alive."""
    try:
        result = await asyncio.to_thread(way.run, model, config)
        if isinstance(result, Awaitable):
            await result
    except Exception:
        return "raised"
    return "returned"


async def settled(wire: Wire, recorder: MemoryRecorder) -> None:
    """Wait for what goes on by itself: the rest of a batch, a connection that is let go.

    A cancelled task's last exception can sit in a cycle with its frames, and in those a stream
    that holds a connection: they go when they are collected, which here is now.
    """

    def over() -> bool:
        gc.collect()
        return not wire.open and not recorder.value("agentmetrics_open_runs")

    await traffic.until(over)


def statuses(recorder: MemoryRecorder) -> dict[str, float]:
    return by(recorder, "llm_calls_total", "status")


def nothing_is_left(recorder: MemoryRecorder) -> None:
    """No gauge above 0, no entry in the table, nothing that was not understood."""
    gc.collect()
    in_flight = (
        "llm_active_calls",
        "agent_active_runs",
        "tool_executions_active",
        "agentmetrics_open_runs",
    )
    assert [s for s in recorder.samples() if s.name in in_flight and s.value] == []
    assert not pipeline_of(recorder).table._open
    assert recorder.value("agentmetrics_handler_errors_total") == 0


class TestAWay:
    @pytest.mark.usefixtures("forsaken")
    @pytest.mark.parametrize(("way", "ending"), TABLE)
    async def test_every_way_to_an_ending_counts_each_call_once(
        self, way: str, ending: str, wire: Wire, recorder: MemoryRecorder, config: Any
    ) -> None:
        await self._comes_to(WAYS[way], ENDINGS[ending], "openai", wire, recorder, config)

    @pytest.mark.parametrize(("way", "ending"), TABLE_OF_ANTHROPIC)
    async def test_every_way_to_an_ending_of_anthropic_counts_each_call_once(
        self, way: str, ending: str, wire: Wire, recorder: MemoryRecorder, config: Any
    ) -> None:
        await self._comes_to(WAYS[way], OF_ANTHROPIC[ending], "anthropic", wire, recorder, config)

    async def _comes_to(
        self,
        way: Way,
        ending: Ending,
        provider: str,
        wire: Wire,
        recorder: MemoryRecorder,
        config: Any,
    ) -> None:
        maker = traffic.openai if provider == "openai" else traffic.anthropic
        asked = Wire(address="http://127.0.0.1:1") if ending.nowhere else wire
        model = maker(asked, AGENT, MODELS[provider], **ending.options)
        wire.always(MODELS[provider], ending.answer)
        succeeds = ending.status == "success"
        expected = "returned" if succeeds or not way.raises else "raised"
        assert await outcome(way, model, config) == expected
        await settled(wire, recorder)
        calls = way.calls if succeeds else way.attempts or len(wire.calls)
        assert statuses(recorder) == {ending.status: calls}
        failed = {} if succeeds else {ending.error_type: calls}
        assert by(recorder, "llm_errors_total", "error_type") == failed
        assert by(recorder, "agent_runs_total", "status") in ({}, {ending.status: 1})
        if not ending.unseen:
            equals_the_wire(recorder, wire)
        nothing_is_left(recorder)


# Cancelled: by whoever waits for it, once the call hangs at the wire

Work = Callable[[], Coroutine[Any, Any, Any]]


async def _by_its_task(work: Work, hangs: Work) -> None:
    task = asyncio.ensure_future(work())
    await hangs()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _by_anyios_task_group(work: Work, hangs: Work) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await hangs()
        group.cancel_scope.cancel()


async def _by_anyios_deadline(work: Work, hangs: Work) -> None:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await hangs()
            scope.deadline = anyio.current_time()


CANCELLED_BY: dict[str, Callable[[Work, Work], Awaitable[None]]] = {
    "its task": _by_its_task,
    "anyio's task group": _by_anyios_task_group,
    "anyio's deadline": _by_anyios_deadline,
}
if sys.version_info >= (3, 11):

    class _SiblingError(Exception):
        pass

    async def _by_a_task_group(work: Work, hangs: Work) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
                await hangs()
                raise _SiblingError  # one task of a group that fails cancels the others
        except ExceptionGroup:  # noqa: F821 - there from 3.11 on
            pass

    async def _by_asyncios_timeout(work: Work, hangs: Work) -> None:
        async def then_expire() -> None:
            await hangs()
            timeout.reschedule(asyncio.get_running_loop().time())

        with suppress(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                waiting = asyncio.ensure_future(then_expire())
                await work()
        await waiting

    CANCELLED_BY["asyncio.TaskGroup"] = _by_a_task_group
    CANCELLED_BY["asyncio.timeout"] = _by_asyncios_timeout


class Listener(BaseCallbackHandler):
    """Counts the words that have come.

    Before Python 3.12 a cancellation that comes together with a word is lost in
    ``asyncio.wait_for``, which langchain-openai reads its streams with: the call then goes on.
    """

    run_inline = True
    words = 0

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.words += bool(token)


async def _until_all_wait() -> None:
    """Let every task come to where it waits for the wire."""
    for _ in range(20):
        await asyncio.sleep(0)


WORDS_BEFORE_SILENCE = 3
ANYIO = ("anyio's task group", "anyio's deadline")


def is_reached(way: str, how: str) -> bool:
    """Whether this cancellation reaches the calls, or only who waits for them."""
    if way.startswith("abatch_as_completed"):
        return False  # whose tasks LangChain leaves alone
    # Of a streaming graph's tasks LangGraph loses sight when it is cancelled once more while it
    # cancels them, which anyio does until a scope is left.
    return not (how in ANYIO and way in ("a graph's astream", "a graph's astream_events v3"))


CANCELLATIONS = [(way, how) for way in ASYNC_WAYS for how in CANCELLED_BY]


class TestACancelledCall:
    @pytest.mark.parametrize(("way", "how"), [pair for pair in CANCELLATIONS if is_reached(*pair)])
    async def test_a_cancelled_call_is_cancelled_once(
        self,
        way: str,
        how: str,
        wire: Wire,
        model: Any,
        recorder: MemoryRecorder,
        config: Any,
    ) -> None:
        calls, listener = WAYS[way].calls, Listener()
        words = WORDS_BEFORE_SILENCE if WAYS[way].streams else 0
        config = {"callbacks": [*config["callbacks"], listener]}
        wire.always(MODELS["openai"], Answer(hangs=True))

        async def hang() -> None:
            await traffic.until(lambda: wire.hanging[AGENT] == calls and listener.words == words)
            assert recorder.value("llm_active_calls") == calls
            await _until_all_wait()

        await CANCELLED_BY[how](lambda: WAYS[way].run(model, config), hang)
        await settled(wire, recorder)
        assert statuses(recorder) == {"cancelled": calls}
        assert by(recorder, "agent_runs_total", "status") in ({}, {"cancelled": 1})
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)

    @pytest.mark.usefixtures("forsaken")
    @pytest.mark.parametrize(
        ("way", "how"), [pair for pair in CANCELLATIONS if not is_reached(*pair)]
    )
    async def test_a_cancelled_call_that_goes_on_by_itself_ends_as_the_wire_says(
        self,
        way: str,
        how: str,
        wire: Wire,
        model: Any,
        recorder: MemoryRecorder,
        config: Any,
    ) -> None:
        calls = WAYS[way].calls
        wire.always(MODELS["openai"], Answer(seconds=0.2))

        async def asked() -> None:
            await traffic.until(lambda: wire.open == calls)

        await CANCELLED_BY[how](lambda: WAYS[way].run(model, config), asked)
        await traffic.until(lambda: len(wire.calls) == calls)
        await settled(wire, recorder)
        assert statuses(recorder) == Counter(traffic.STATUS[call.ended] for call in wire.calls)
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)


# Left: the reader of a stream goes away after its first words


async def _aclosed(items: Any) -> None:
    await anext(items)
    await items.aclose()


async def _abroken_off(items: Any) -> None:
    async for _ in items:
        break


def _closed(items: Any) -> None:
    next(items)
    items.close()


def _broken_off(items: Any) -> None:
    for _ in items:
        break


LAST_WORD = {"openai-chat": "of ", "anthropic-chat": "answer "}
"""After it the wire is silent, and a cancellation comes alone; see ``Listener``."""


async def _left_v2(model: Any, config: Any) -> None:
    events = model.astream_events("x", config, version="v2")
    async for event in events:
        if event["event"] == "on_chat_model_stream":
            if event["data"]["chunk"].text == LAST_WORD[model._llm_type]:
                break
    await _until_all_wait()
    await events.aclose()


async def _left_graph(model: Any, config: Any) -> None:
    items = _graph(model).astream(TASK, config, stream_mode="messages")
    async for chunk, _ in items:
        if chunk.text == LAST_WORD[model._llm_type]:
            break
    await _until_all_wait()
    await items.aclose()


async def _left_v3(model: Any, config: Any) -> None:
    async with await model.astream_events("x", config, version="v3") as stream:
        await _last_word(model, stream)


async def _left_graph_v3(model: Any, config: Any) -> None:
    async with await _graph(model).astream_events(TASK, config, version="v3") as stream:
        async for message in stream.messages:
            await _last_word(model, message)
            return


async def _last_word(model: Any, stream: Any) -> None:
    async for word in stream.text:
        if word == LAST_WORD[model._llm_type]:
            break
    await _until_all_wait()


LEFT: dict[str, Callable[[Any, Any], Any]] = {
    "stream, closed": lambda m, c: _closed(m.stream("x", c)),
    "stream, broken off": lambda m, c: _broken_off(m.stream("x", c)),
    "a chain's stream": lambda m, c: _closed((SAME | m).stream("x", c)),
    "stream_events v3": lambda m, c: _broken_off(m.stream_events("x", c, version="v3")),
    "astream, closed": lambda m, c: _aclosed(m.astream("x", c)),
    "astream, broken off": lambda m, c: _abroken_off(m.astream("x", c)),
    "a chain's astream": lambda m, c: _aclosed((SAME | m).astream("x", c)),
    "astream_events v2": _left_v2,
    "astream_events v3": _left_v3,
}
if NEW_PYTHON:
    LEFT |= {"a graph's astream": _left_graph, "a graph's astream_events v3": _left_graph_v3}


class TestAStreamThatItsReaderLeaves:
    @pytest.mark.parametrize("way", LEFT)
    @pytest.mark.parametrize("provider", MODELS)
    async def test_a_stream_that_its_reader_leaves_is_cancelled_once(
        self, way: str, provider: str, wire: Wire, recorder: MemoryRecorder, config: Any
    ) -> None:
        maker = traffic.openai if provider == "openai" else traffic.anthropic
        model = maker(wire, AGENT, MODELS[provider])
        wire.always(MODELS[provider], Answer(hangs=True))
        result = await asyncio.to_thread(LEFT[way], model, config)
        if isinstance(result, Awaitable):
            await result
        await settled(wire, recorder)
        assert statuses(recorder) == {"cancelled": 1}
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)

    async def test_a_stream_that_its_reader_leaves_of_a_graph_in_threads_goes_on_to_its_end(
        self, wire: Wire, model: Any, recorder: MemoryRecorder, config: Any
    ) -> None:
        # A thread cannot be cancelled: closing the stream waits for it.
        items = _graph(model).stream(TASK, config, stream_mode="messages")
        await asyncio.to_thread(_closed, items)
        await settled(wire, recorder)
        assert statuses(recorder) == {"success": 1}
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)


class TestABatch:
    """What is peculiar to several calls at once."""

    @pytest.mark.parametrize(
        "way",
        [
            "batch, errors returned",
            "batch_as_completed, errors returned",
            "abatch, errors returned",
            "abatch_as_completed, errors returned",
            "abatch",
            "abatch_as_completed",
        ],
    )
    @pytest.mark.usefixtures("forsaken")
    async def test_a_batch_of_which_one_is_refused_counts_the_others_too(
        self, way: str, wire: Wire, model: Any, recorder: MemoryRecorder, config: Any
    ) -> None:
        wire.script(MODELS["openai"], Refusal(429))
        expected = "raised" if WAYS[way].raises else "returned"
        assert await outcome(WAYS[way], model, config) == expected
        await settled(wire, recorder)
        assert statuses(recorder) == {"error": 1, "success": 2}
        assert by(recorder, "llm_errors_total", "error_type") == {"rate_limit": 1}
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)

    async def test_a_batch_that_is_left_after_its_first_answer_is_billed_for_the_others(
        self, wire: Wire, model: Any, recorder: MemoryRecorder, config: Any
    ) -> None:
        await _abroken_off(model.abatch_as_completed(XYZ, config))
        await traffic.until(lambda: len(wire.calls) == 3)
        await settled(wire, recorder)
        assert statuses(recorder) == {"success": 3}
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)

    @pytest.mark.parametrize("again", [_twice, _or_again], ids=["retries", "fallbacks"])
    async def test_a_batch_of_retries_or_fallbacks_counts_every_attempt(
        self, again: Any, wire: Wire, model: Any, recorder: MemoryRecorder, config: Any
    ) -> None:
        wire.script(MODELS["openai"], Refusal(500), Refusal(429))
        await again(model).abatch(XYZ, config)
        assert statuses(recorder) == {"error": 2, "success": 3}
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)


class TestCtrlC:
    """A user of a script loses patience: sync code in the main thread, as it hangs at the wire."""

    WAYS = (
        "invoke",
        "a chain's invoke",
        "with_retry",
        "with_fallbacks",
        "stream",
        "a chain's stream",
        "stream_events v3",
    )
    # Not batches and graphs: those wait for the threads that they started.

    @pytest.mark.parametrize("way", WAYS)
    def test_ctrl_c_is_a_cancelled_call_and_no_error(
        self, way: str, wire: Wire, model: Any, recorder: MemoryRecorder, config: Any
    ) -> None:
        wire.always(MODELS["openai"], Answer(hangs=True))
        over = threading.Event()
        impatient = threading.Thread(target=self._press, args=(wire, over))
        impatient.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                WAYS[way].run(model, config)
        finally:
            over.set()
            impatient.join()
        wire.settled()
        gc.collect()
        assert statuses(recorder) == {"cancelled": 1}
        assert by(recorder, "llm_errors_total", "error_type") == {}
        equals_the_wire(recorder, wire)
        nothing_is_left(recorder)

    def _press(self, wire: Wire, over: threading.Event) -> None:
        while not over.wait(0.005):
            if wire.hanging[AGENT] > 0:
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)
                return
