"""The ways in which calls, runs, tools and streams end, each so many times, and what they are."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import anyio
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableLambda

from agentmetrics import (
    InstrumentedAgent,
    MemoryRecorder,
    MetricsCallbackHandler,
    record_call,
    track_call,
    track_run,
    track_tool,
)
from tests.unit.scripted import Chat, StreamingChat, answer

AT_ONCE = 100


class BrokenError(Exception):
    """What is raised in the middle."""


class _Never:
    async def wait(self) -> None:
        await asyncio.sleep(600)


@dataclass(frozen=True)
class Here:
    """What the ways are made with."""

    recorder: MemoryRecorder
    config: Any
    """What LangChain's models are called with."""

    @property
    def handler(self) -> MetricsCallbackHandler:
        return MetricsCallbackHandler(self.recorder, agent_name="tester")

    def call(self) -> track_call:
        return track_call("openai", "gpt-4o-mini", agent_name="tester", recorder=self.recorder)

    def run(self) -> Any:
        return track_run("tester", recorder=self.recorder)

    def tool(self) -> Any:
        return track_tool("search", recorder=self.recorder)


@dataclass(frozen=True)
class Ending:
    """How something ends, by itself or many at once, and the statuses of each."""

    end: Callable[[Here, int], object]
    """So many of them."""
    calls: dict[str, int]
    runs: dict[str, int]
    tools: dict[str, int]


ENDINGS: dict[str, Ending] = {}


def _ending(
    name: str, *, calls: str = "", runs: str = "", tools: str = ""
) -> Callable[[Callable[[Here, int], object]], None]:
    """Statuses with a space between them, for each one of what is repeated."""

    def add(end: Callable[[Here, int], object]) -> None:
        ENDINGS[name] = Ending(end, *(_numbers(each) for each in (calls, runs, tools)))

    return add


def _numbers(statuses: str) -> dict[str, int]:
    words = statuses.split()
    return {word: words.count(word) for word in words}


def _repeated(once: Callable[[Here], object]) -> Callable[[Here, int], None]:
    def end(here: Here, times: int) -> None:
        for _ in range(times):
            once(here)

    return end


def _at_once(once: Callable[[Here], Coroutine[Any, Any, object]]) -> Callable[[Here, int], None]:
    """On an event loop, a hundred at a time."""

    async def end(here: Here, times: int) -> None:
        for _ in range(times // AT_ONCE):
            await asyncio.gather(*(once(here) for _ in range(AT_ONCE)))

    return lambda here, times: asyncio.run(end(here, times))


# A block


@_ending("a call returns", calls="success")
@_repeated
def _(here: Here) -> None:
    with here.call() as call:
        call.record_usage(10, 5)


@_ending("a call raises", calls="error")
@_repeated
def _(here: Here) -> None:
    with suppress(BrokenError), here.call():
        raise BrokenError


@_ending("a call is interrupted", calls="cancelled")
@_repeated
def _(here: Here) -> None:
    with suppress(KeyboardInterrupt), here.call():
        raise KeyboardInterrupt


@_ending("a call inside of a tool inside of two runs raises",
         calls="error", runs="error error", tools="error")  # fmt: skip
@_repeated
def _(here: Here) -> None:
    with suppress(BrokenError), here.run(), here.run(), here.tool(), here.call():
        raise BrokenError


@_ending("a block is entered and never left", calls="cancelled")
@_repeated
def _(here: Here) -> None:
    here.call().__enter__()


@_ending("a block is left twice", calls="success")
@_repeated
def _(here: Here) -> None:
    call = here.call()
    call.__enter__()
    call.__exit__(None, None, None)
    call.__exit__(BrokenError, BrokenError(), None)


@_ending("a call is recorded afterwards", calls="success")
@_repeated
def _(here: Here) -> None:
    record_call("openai", "gpt-4o-mini", input_tokens=10, recorder=here.recorder)


@_ending("a task is cancelled in a call in a tool in a run",
         calls="cancelled", runs="cancelled", tools="cancelled")  # fmt: skip
@_at_once
async def _(here: Here) -> None:
    async def work() -> None:
        async with here.run(), here.tool(), here.call():
            await asyncio.sleep(600)

    await _cancelled(work())


@_ending("a call times out", calls="cancelled")
@_at_once
async def _(here: Here) -> None:
    async def work() -> None:
        async with here.call():
            await asyncio.sleep(600)

    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(work(), 0.001)


@_ending("anyio's scope times out around a run", calls="cancelled", runs="cancelled")
@_at_once
async def _(here: Here) -> None:
    with anyio.move_on_after(0.001):
        async with here.run(), here.call():
            await asyncio.sleep(600)


@_ending("an event loop ends with calls in it", calls="cancelled")
def _(here: Here, times: int) -> None:
    async def work() -> None:
        async with here.call():
            await asyncio.sleep(600)

    async def leave_behind() -> None:
        kept = [asyncio.ensure_future(work()) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in kept)

    for _ in range(times // AT_ONCE):
        asyncio.run(leave_behind())


# A generator


def _generator(here: Here) -> Iterator[int]:
    with here.run(), here.call() as call:
        call.record_usage(10, 5)
        yield 1
        yield 2


async def _agenerator(here: Here) -> AsyncIterator[int]:
    async with here.run(), here.call():
        yield 1
        yield 2


@_ending("a generator is closed", calls="cancelled", runs="cancelled")
@_repeated
def _(here: Here) -> None:
    generator: Any = _generator(here)
    next(generator)
    generator.close()


@_ending("a generator is dropped", calls="cancelled", runs="cancelled")
@_repeated
def _(here: Here) -> None:
    next(_generator(here))


@_ending("a generator in a cycle is collected", calls="cancelled", runs="cancelled")
@_repeated
def _(here: Here) -> None:
    generator = _generator(here)
    next(generator)
    cycle: list[Any] = [generator]
    cycle.append(cycle)


@_ending("something is thrown into a generator", calls="error", runs="error")
@_repeated
def _(here: Here) -> None:
    generator: Any = _generator(here)
    next(generator)
    with suppress(BrokenError):
        generator.throw(BrokenError())


@_ending("a generator is closed in another thread and another context",
         calls="cancelled", runs="cancelled")  # fmt: skip
@_repeated
def _(here: Here) -> None:
    generator: Any = _generator(here)
    contextvars.copy_context().run(next, generator)
    _in_thread(generator.close)


@_ending("a thread ends with a call open in it", calls="cancelled", runs="cancelled cancelled")
@_repeated
def _(here: Here) -> None:
    def leave() -> None:
        local.stack = ExitStack()
        local.stack.enter_context(here.run())
        local.generator = _generator(here)
        next(local.generator)

    local = threading.local()
    _in_thread(leave)


@_ending("an asynchronous generator is closed", calls="cancelled", runs="cancelled")
@_at_once
async def _(here: Here) -> None:
    generator: Any = _agenerator(here)
    await anext(generator)
    await generator.aclose()


@_ending("an asynchronous generator is left to its event loop",
         calls="cancelled", runs="cancelled")  # fmt: skip
@_at_once
async def _(here: Here) -> None:
    await anext(_agenerator(here))


# An SDK's stream


def _events() -> Iterator[Any]:
    for text in ("one", "two"):
        yield SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content=text))])


def _breaking() -> Iterator[Any]:
    yield from _events()
    raise BrokenError


def _stream(here: Here, events: Iterator[Any]) -> Any:
    with here.call() as call:
        return call.record_stream(events)


@_ending("a stream is read to its end", calls="success")
@_repeated
def _(here: Here) -> None:
    assert len(list(_stream(here, _events()))) == 2


@_ending("a stream breaks", calls="error")
@_repeated
def _(here: Here) -> None:
    with suppress(BrokenError):
        list(_stream(here, _breaking()))


@_ending("a stream is closed early", calls="cancelled")
@_repeated
def _(here: Here) -> None:
    stream = _stream(here, _events())
    next(stream)
    stream.close()


@_ending("a stream is dropped", calls="cancelled")
@_repeated
def _(here: Here) -> None:
    next(_stream(here, _events()))


# LangChain


@_ending("LangChain: a start whose end never comes", calls="cancelled")
@_repeated
def _(here: Here) -> None:
    here.handler.on_chat_model_start({}, [[]], run_id=uuid.uuid4(), metadata=_METADATA)


@_ending("LangChain: a start that ends twice", calls="success")
@_repeated
def _(here: Here) -> None:
    handler, run_id = here.handler, uuid.uuid4()
    handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=_METADATA)
    handler.on_llm_end(_RESULT, run_id=run_id)
    handler.on_llm_error(BrokenError(), run_id=run_id)


_METADATA = {"ls_provider": "openai", "ls_model_name": "gpt-4o-mini"}
_RESULT = LLMResult(generations=[[ChatGeneration(message=answer())]])
_ANSWERS = Chat(model="gpt-4o-mini")


class _Breaking(Chat):
    def _next(self) -> Any:
        raise BrokenError


_BREAKS = _Breaking(model="gpt-4o-mini")
_HANGS = Chat(model="gpt-4o-mini", waits_for=_Never())
_STREAMS = StreamingChat(model="gpt-4o-mini")
_STREAM_BREAKS = StreamingChat(model="gpt-4o-mini", fails_after=2)


@_ending("LangChain: invoke raises", calls="error")
@_repeated
def _(here: Here) -> None:
    with suppress(BrokenError):
        _BREAKS.invoke("x", here.config)


@_ending("LangChain: a stream is dropped", calls="cancelled")
@_repeated
def _(here: Here) -> None:
    for _ in _STREAMS.stream("x", here.config):
        break


@_ending("LangChain: a stream breaks", calls="error")
@_repeated
def _(here: Here) -> None:
    with suppress(ConnectionResetError):
        list(_STREAM_BREAKS.stream("x", here.config))


@_ending("LangChain: an ainvoke is cancelled", calls="cancelled")
@_at_once
async def _(here: Here) -> None:
    await _cancelled(_HANGS.ainvoke("x", here.config))


@_ending("LangChain: an ainvoke times out", calls="cancelled")
@_at_once
async def _(here: Here) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_HANGS.ainvoke("x", here.config), 0.01)


@_ending("LangChain: a chain is cancelled", calls="cancelled", runs="cancelled")
@_at_once
async def _(here: Here) -> None:
    chain: Any = RunnableLambda(_same) | _HANGS
    await _cancelled(chain.ainvoke("x", here.config), steps=20)


@_ending("LangChain: an astream is closed early", calls="cancelled")
@_at_once
async def _(here: Here) -> None:
    stream: Any = _STREAMS.astream("x", here.config)
    await anext(stream)
    await stream.aclose()


@_ending("LangChain: an agent of yours is cancelled in its model",
         calls="cancelled", runs="cancelled")  # fmt: skip
@_at_once
async def _(here: Here) -> None:
    await _cancelled(_Agent(here.recorder).execute(), steps=6)


class _Agent(InstrumentedAgent):
    def __init__(self, recorder: MemoryRecorder) -> None:
        self.recorder = recorder

    async def execute(self) -> object:
        return await _HANGS.ainvoke("x")


async def _same(text: str) -> str:
    return text


async def _cancelled(work: Coroutine[Any, Any, object], steps: int = 3) -> None:
    """Start it, and cancel it when it has come to where it hangs."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
