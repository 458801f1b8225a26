"""Wrapped clients that answer anything: the program has exactly what its client gave."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from random import Random
from types import SimpleNamespace
from typing import Any

import anthropic
import boto3
import cohere
import ollama
import openai
import pytest
from google import genai
from mistralai.client import Mistral

from agentmetrics import MemoryRecorder, wrap
from agentmetrics.recording.metric import class_has
from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.objects import HostileError, hostile, value
from tests.unit.scripted import assert_settled

TIMES = times(short=30, whole=2_000)


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    logger = logging.getLogger("agentmetrics")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield MemoryRecorder()
    logger.setLevel(level)


# What clients answer

RAISED = (HostileError, ValueError, OSError, SystemError, TimeoutError, GeneratorExit)


class Script:
    """What a client does, told beforehand."""

    def __init__(self, random: Random) -> None:
        self.error: BaseException | None = None
        if random.random() < 0.2:
            self.error = random.choice(RAISED)()
        self.events = [value(random) for _ in range(random.randint(0, 4))]
        breaks = random.choice((None, None, *RAISED))
        self.breaks: BaseException | None = None if breaks is None else breaks()
        self.result: Any = value(random)

    def answer(self, *_: object, **__: object) -> Any:
        if self.error is not None:
            raise self.error
        return self.result

    async def aanswer(self, *_: object, **__: object) -> Any:
        return self.answer()

    def stream(self) -> Stream:
        return Stream(self.events, self.breaks)


class Stream:
    """An SDK's stream, as far as it goes."""

    def __init__(self, events: list[Any], breaks: BaseException | None) -> None:
        self._left, self._breaks = list(events), breaks
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._left:
            return self._left.pop(0)
        if self._breaks is not None:
            raise self._breaks
        raise StopIteration

    def close(self) -> None:
        self.closed += 1


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError


# The clients, each with a method that does what the script says

Made = tuple[Callable[[], Any], Any]
"""What calls it, and the client to be wrapped."""


def of_openai(script: Script) -> Made:
    client = openai.OpenAI(api_key="none")
    client.request = script.answer  # type: ignore[method-assign]
    create = client.chat.completions.create
    return lambda: create(model="gpt-4o", messages=[]), client


def of_async_openai(script: Script) -> Made:
    client = openai.AsyncOpenAI(api_key="none")
    client.request = script.aanswer  # type: ignore[method-assign]
    create = client.embeddings.create
    return lambda: done(create(model="gpt-4o", input="a")), client


def of_anthropic(script: Script) -> Made:
    client = anthropic.Anthropic(api_key="none")
    client.request = script.answer  # type: ignore[method-assign]
    create = client.messages.create
    return lambda: create(model="claude", messages=[], max_tokens=1), client


def of_ollama(script: Script) -> Made:
    client = ollama.Client()
    client.chat = script.answer  # type: ignore[method-assign]
    return lambda: client.chat("llama"), client


def of_async_ollama(script: Script) -> Made:
    client = ollama.AsyncClient()
    client.generate = script.aanswer  # type: ignore[method-assign]
    return lambda: done(client.generate("llama")), client


def of_bedrock(script: Script) -> Made:
    client: Any = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    client.converse = script.answer
    return lambda: client.converse(modelId="nova", messages=[]), client


def of_async_openai_stream(script: Script) -> Made:
    client = openai.AsyncOpenAI(api_key="none")
    client.request = script.aanswer  # type: ignore[method-assign]
    create = client.chat.completions.create
    return lambda: done(create(model="gpt-4o", messages=[], stream=True)), client


def of_mistral(script: Script) -> Made:
    client: Any = Mistral(api_key="none")
    client.chat.complete = client.chat.stream = script.answer
    return lambda: client.chat.complete(model="mistral-small", messages=[]), client


def of_mistral_stream(script: Script) -> Made:
    _, client = of_mistral(script)
    return lambda: client.chat.stream(model="mistral-small", messages=[]), client


def of_cohere(script: Script) -> Made:
    client: Any = cohere.ClientV2("none")
    client.with_raw_response.chat = script.answer
    return lambda: client.with_raw_response.chat(model="command", messages=[]), client


def of_google(script: Script) -> Made:
    client: Any = genai.Client(api_key="none")
    client.models._generate_content = script.answer
    return lambda: client.models._generate_content(model="gemini", contents="a"), client


def of_google_stream(script: Script) -> Made:
    client: Any = genai.Client(api_key="none")

    def generate(*_: object, **__: object) -> Iterator[Any]:
        yield from script.result

    client.models._generate_content_stream = generate
    return lambda: client.models._generate_content_stream(model="gemini", contents="a"), client


CLIENTS = {
    "OpenAI": of_openai,
    "AsyncOpenAI": of_async_openai,
    "Anthropic": of_anthropic,
    "Ollama": of_ollama,
    "AsyncOllama": of_async_ollama,
    "Bedrock": of_bedrock,
    "Mistral": of_mistral,
    "Cohere": of_cohere,
    "Google": of_google,
}


def outcome(call: Callable[[], Any]) -> tuple[str, int]:
    """What a call came to, and which object that is."""
    try:
        return "returned", id(call())
    except BaseException as error:
        return "raised", id(error)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_that_answers_anything_answers_the_same_when_it_is_wrapped(
    name: str, recorder: MemoryRecorder, proves: Proves
) -> None:
    random = Random(name)
    script = Script(random)
    call, client = CLIENTS[name](script)
    wrap(client, recorder=recorder)
    raised = 0
    for _ in range(TIMES):
        told = Script(random)
        script.error, script.result = told.error, told.result
        if class_has(script.result, "__next__"):  # a stream, which is tried below
            script.result = hostile(random)
        given = ("returned", id(script.result))
        if script.error is not None:
            given = ("raised", id(script.error))
            raised += 1
        if script.error is None or not issubclass(
            type(script.error), StopIteration | StopAsyncIteration | GeneratorExit
        ):  # which Python itself makes something else of in a coroutine
            assert outcome(call) == given
    gc.collect()
    assert_settled(recorder)
    assert recorder.value("llm_calls_total") > TIMES / 2
    proves(
        f"{TIMES:,} answers of no shape at all, {raised:,} of which are exceptions",
        f"{TIMES:,} times the very same object, 0 calls left open",
    )


# Streams


def read(stream: Any, random: Random, *, most: int) -> tuple[list[int], int | None]:
    """What a program reads, and the exception that ends it; it may stop before."""
    got: list[int] = []
    try:
        for event in stream:
            got.append(id(event))
            if len(got) >= most:
                break
    except BaseException as error:
        return got, id(error)
    if random.random() < 0.5:
        with suppress(AttributeError):  # one that cannot be closed is dropped
            stream.close()
    return got, None


def expected(script: Script, most: int) -> tuple[list[int], int | None]:
    got = [id(event) for event in script.events][:most]
    ends = len(got) < most
    return got, id(script.breaks) if ends and script.breaks is not None else None


class Holder:
    """A stream of the SDK's own, with its events in the attribute where the SDK has them."""

    def __init__(self, events: Any, where: str = "_iterator") -> None:
        self._where = where
        setattr(self, where, events)

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                event = next(getattr(self, self._where))
            except StopIteration:
                return
            yield event

    def close(self) -> None:
        """As the SDK closes its connection."""


class AsyncHolder:
    """The same of an SDK that is awaited."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._iterator = self._all(events)

    async def _all(self, events: Iterator[Any]) -> AsyncIterator[Any]:
        for event in events:
            yield event

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for event in self._iterator:
            yield event

    async def close(self) -> None:
        """As the SDK closes its connection."""


class Awaited:
    """An asynchronous stream, read without an event loop."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Any]:
        events = aiter(self._stream)
        while True:
            try:
                event = done(anext(events))
            except StopAsyncIteration:
                return
            yield event

    def close(self) -> None:
        done(self._stream.close())


STREAMS: dict[str, tuple[Callable[[Script], Made], Callable[[Script], Any]]] = {
    "OpenAI": (of_openai, lambda script: Holder(script.stream())),
    "Anthropic": (of_anthropic, lambda script: Holder(script.stream())),
    "Ollama": (of_ollama, lambda script: script.stream()),
    "AsyncOpenAI": (of_async_openai_stream, lambda script: AsyncHolder(script.stream())),
    "Mistral": (of_mistral_stream, lambda script: Holder(script.stream(), "generator")),
    "Google": (of_google_stream, lambda script: script.stream()),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_a_wrapped_client_gives_every_event_and_breaks_as_it_broke(
    name: str, recorder: MemoryRecorder, proves: Proves
) -> None:
    random = Random(name)
    make, stream_of = STREAMS[name]
    script = Script(random)
    call, client = make(script)
    wrap(client, recorder=recorder)
    events = broken = 0
    for _ in range(TIMES):
        told = Script(random)
        script.error, script.result = None, stream_of(told)
        most = random.randint(1, 6)
        stream = call()
        got = read(Awaited(stream) if name.startswith("Async") else stream, random, most=most)
        del stream
        assert got == expected(told, most)
        events, broken = events + len(got[0]), broken + (got[1] is not None)
        script.result = None
    gc.collect()
    assert_settled(recorder)
    assert recorder.value("llm_calls_total") == TIMES
    proves(
        f"{TIMES:,} streams of {events:,} events of no shape, {broken:,} of which break half way",
        f"every event and every exception the very same, {TIMES:,} calls counted, 0 left open",
    )


def test_what_is_no_client_is_refused_with_one_sentence(recorder: MemoryRecorder) -> None:
    random = Random("no client")
    for _ in range(TIMES):
        with pytest.raises(TypeError, match=r"^wrap\(\) takes a client of"):
            wrap(value(random), recorder=recorder)
    with pytest.raises(TypeError, match=r"not types\.SimpleNamespace: record other calls"):
        wrap(SimpleNamespace(), recorder=recorder)
