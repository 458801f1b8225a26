"""User code that runs inside ours raises, lies, or calls us again: the program notices nothing."""

from __future__ import annotations

import gc
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from random import Random
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import BaseDocumentCompressor
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import var_child_runnable_config

from agentmetrics import (
    CacheTracker,
    InstrumentedAgent,
    InstrumentedCache,
    InstrumentedEmbeddings,
    InstrumentedReranker,
    MemoryRecorder,
    MetricsCallbackHandler,
    Usage,
    labels,
    record_call,
    record_cost_savings,
    record_error,
    record_model_fallback,
    record_model_selection,
    record_routing_duration,
    record_tool,
    routing,
    track_call,
    track_run,
    track_tool,
)
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.recording.metric import class_has
from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.objects import Again, value
from tests.unit.scripted import assert_settled

TIMES = times(short=60, whole=100_000)
"""How often each is tried."""


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    logger = logging.getLogger("agentmetrics")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    Again.calls = Again.tools = 0
    with replaced(recorder):
        yield recorder
    logger.setLevel(level)


def calls_of(recorder: MemoryRecorder) -> float:
    """Those that the tests made: the others are of hostile objects, and all there."""
    again = recorder.value("llm_calls_total", agent_name="again")
    assert again == Again.calls
    return recorder.value("llm_calls_total") - again


def tools_of(recorder: MemoryRecorder) -> float:
    again = recorder.value("tool_executions_total", tool_name="again")
    assert again == Again.tools
    return recorder.value("tool_executions_total") - again


# Every event of LangChain

EVENTS = [
    name
    for name, _ in inspect.getmembers(MetricsCallbackHandler, callable)
    if name.startswith("on_")
]
BEGINS = {
    **dict.fromkeys(("on_llm_new_token", "on_stream_event"), "on_chat_model_start"),
    **dict.fromkeys(("on_llm_end", "on_llm_error"), "on_chat_model_start"),
    **dict.fromkeys(("on_chain_end", "on_chain_error"), "on_chain_start"),
    **dict.fromkeys(("on_tool_end", "on_tool_error"), "on_tool_start"),
    **dict.fromkeys(("on_retriever_end", "on_retriever_error"), "on_retriever_start"),
}
"""What began that an event is of."""
ENDS = {
    "on_llm_start": "on_llm_end",
    "on_chat_model_start": "on_llm_error",
    "on_chain_start": "on_chain_end",
    "on_tool_start": "on_tool_error",
    "on_retriever_start": "on_retriever_end",
}


def names_of(method: Callable[..., Any]) -> list[str]:
    heard = getattr(BaseCallbackHandler, method.__name__, method)
    return [
        name
        for name, one in inspect.signature(heard).parameters.items()
        if name != "self" and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]


def counted(event: str, recorder: MemoryRecorder) -> float:
    """How many are counted of what this event is of."""
    if "tool" in event:
        return tools_of(recorder)
    if "retriever" in event:
        return recorder.value("retriever_queries_total")
    return recorder.value("agent_runs_total") if "chain" in event else calls_of(recorder)


@pytest.mark.parametrize("event", EVENTS)
def test_no_event_raises_and_each_start_is_counted_once(
    event: str, recorder: MemoryRecorder, proves: Proves
) -> None:
    random = Random(event)
    handler = MetricsCallbackHandler(recorder, agent_name="a")
    send = getattr(handler, event)
    names = sorted({*names_of(send), "metadata", "tags", "name", "invocation_params"} - {"run_id"})
    begun = 0
    for _ in range(TIMES):
        run_id = uuid.uuid4()
        if event in BEGINS:
            getattr(handler, BEGINS[event])({}, [], run_id=run_id)
        told: dict[str, Any] = {n: value(random) for n in names if random.random() < 0.7}
        if event == "on_chain_start":  # or it is in another, whose run it belongs to
            told["parent_run_id"] = None
        send(run_id=run_id, **told)
        begun += event in BEGINS or event in ENDS
        if event in ENDS and random.random() < 0.5:
            getattr(handler, ENDS[event])(value(random), run_id=run_id)
        del run_id
        odd = value(random)
        if random.random() < 0.1 and type(odd) is not uuid.UUID:
            send(run_id=odd, **told)  # which is no run's
    assert_settled(recorder)
    assert counted(event, recorder) == begun
    proves(
        f"{TIMES:,} events of objects that raise, lie, are huge, are slow or record calls "
        "themselves",
        f"0 raised, 0 left open, {begun:,} of {begun:,} that began counted, once",
    )


# Everything public that runs while the program does, and what each use of it is to count


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing, on whichever event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError


def entered(block: Any, random: Random, work: Callable[[Any], object]) -> None:
    """Do some work in a block, which is entered with ``with`` or with ``async with``."""

    async def inside() -> None:
        async with block as given:
            work(given)

    if random.random() < 0.5:
        with block as given:
            work(given)
    else:
        done(inside())


class Agent(InstrumentedAgent):
    def run(self) -> str:
        with self.track_call("openai", "gpt-4o-mini"):
            return "done"

    async def arun(self) -> str:
        return self.run()

    def stream(self) -> Iterator[str]:
        yield self.run()

    async def astream(self) -> AsyncIterator[str]:
        yield self.run()


def call(random: Random) -> None:
    def record(tracked: track_call) -> None:
        kinds = {name: value(random) for name in TOKENS if random.random() < 0.3}
        tracked.record_usage(value(random), value(random), cost_usd=value(random), **kinds)
        tracked.record_response(value(random))
        tracked.record_first_token()

    block = track_call(
        value(random),
        value(random),
        agent_name=value(random),
        max_input_tokens=value(random),
        max_output_tokens=value(random),
        service_tier=value(random),
    )
    entered(block, random, record)
    assert block.cost_usd is None or block.cost_usd >= 0


TOKENS = (
    *("cache_read_tokens", "cache_creation_tokens", "cache_creation_1h_tokens"),
    *("reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "image_output_tokens"),
)


def stream(random: Random) -> None:
    events = [value(random) for _ in range(3)]
    with track_call("openai", "gpt-4o-mini") as tracked:
        read = list(tracked.record_stream(iter(events)))
    assert list(map(id, read)) == list(map(id, events))


def asynchronous_stream(random: Random) -> None:
    events = [value(random) for _ in range(3)]

    async def streamed() -> AsyncIterator[Any]:
        for event in events:
            yield event

    async def read() -> list[int]:
        async with track_call("openai", "gpt-4o-mini") as tracked:
            return [id(event) async for event in tracked.record_stream(streamed())]

    assert done(read()) == list(map(id, events))


def finished_call(random: Random) -> None:
    record_call(
        value(random),
        value(random),
        agent_name=value(random),
        duration_seconds=value(random),
        input_tokens=value(random),
        output_tokens=value(random),
        cost_usd=value(random),
        started=value(random),
        time_to_first_token_seconds=value(random),
        served_model=value(random),
        service_tier=value(random),
    )
    record_call("openai", "gpt-4o", usage=Usage(value(random), value(random), value(random)))


def finished_and_failed(random: Random) -> None:
    error = failure(random)
    record_call("openai", "gpt-4o", error_type=random.choice((error, type(error))))
    record_tool("search", error=error)


def finished_tool(random: Random) -> None:
    record_tool(
        value(random),
        agent_name=value(random),
        duration_seconds=value(random),
        started=value(random),
    )


def run(random: Random) -> None:
    def use(_: object) -> None:
        entered(track_tool(value(random), agent_name=value(random)), random, lambda _: None)

    entered(track_run(value(random), max_cost_usd=value(random)), random, use)


def decorated(random: Random) -> None:
    recorded_by(track_run(value(random)), random)
    recorded_by(track_tool(value(random)), random)


def recorded_by(decorator: track_run | track_tool, random: Random) -> None:
    result = value(random)

    async def awaited() -> Any:
        return result

    def generated() -> Iterator[Any]:
        yield result

    async def streamed() -> AsyncIterator[Any]:
        yield result

    async def first(events: AsyncIterator[Any]) -> Any:
        [only] = [event async for event in events]
        return only

    assert decorator(lambda *_, **__: result)(value(random), a=value(random)) is result
    assert done(decorator(awaited)()) is result
    assert next(iter(decorator(generated)())) is result
    assert done(first(decorator(streamed)())) is result


def agent(random: Random) -> None:
    own = Agent()
    own.agent_name = value(random)  # type: ignore[misc]
    own.max_run_cost_usd = None if random.random() < 0.9 else 1.0
    assert own.run() == done(own.arun()) == "done"
    assert list(own.stream()) == ["done"]


def labelled(random: Random) -> None:
    with labels(tenant=value(random)), track_run("a"), track_call("openai", "gpt-4o"):
        pass


def within_langchain(random: Random) -> None:
    """The config of a chain that somebody else runs, which may have anything in it."""
    config: Any = random.choice(
        (value(random), {"metadata": value(random), "callbacks": value(random)})
    )
    token = var_child_runnable_config.set(config)
    try:
        with track_run("a"), track_tool("search"), track_call("openai", "gpt-4o"):
            pass
        record_call("openai", "gpt-4o")
    finally:
        var_child_runnable_config.reset(token)


def failure(random: Random) -> Exception:
    error = value(random)
    if not issubclass(type(error), Exception):
        error = random.choice((_SDKError, _SDKTimeoutError))("a")
        error.response = error.status_code = error.body = error.exceptions = value(random)
    found: Exception = error
    return found


class _SDKError(Exception):
    response: Any
    status_code: Any
    body: Any
    exceptions: Any


class _SDKTimeoutError(_SDKError, TimeoutError):
    pass


def failing(random: Random) -> None:
    error = failure(random)

    def fail(_: object) -> None:
        raise error

    for block in (track_call("openai", "gpt-4o-mini"), track_tool("search"), track_run("a")):
        with pytest.raises(type(error)) as raised:
            entered(block, random, fail)
        assert raised.value is error
        raised.value.__traceback__ = None


def cache(random: Random) -> None:
    tracker = CacheTracker(
        value(random),
        labels={"tenant": value(random)},
        entries=lambda: value(random),
        size_bytes=lambda: value(random),
    )
    tracker.hit()
    tracker.miss()
    tracker.put(value(random))
    tracker.evicted(value(random))
    tracker.entries()
    tracker.size_bytes()


def choice(random: Random) -> None:
    record_model_selection(value(random), value(random), value(random))
    record_model_fallback(value(random), value(random))
    record_routing_duration(value(random), value(random))
    record_cost_savings(value(random), value(random))
    entered(
        routing(value(random)), random, lambda chosen: chosen.select(value(random), value(random))
    )


def application_error(random: Random) -> None:
    record_error(value(random), value(random))


# What wraps something of LangChain's


class Vectors(Embeddings):
    """Embeddings that answer anything."""

    model: Any
    answer: Any

    def embed_documents(self, texts: Any) -> Any:
        return self.answer

    def embed_query(self, text: Any) -> Any:
        return self.answer

    async def aembed_query(self, text: Any) -> Any:
        return self.answer


class Ranked(BaseDocumentCompressor):
    answer: Any = None

    def compress_documents(self, documents: Any, query: Any, callbacks: Any = None) -> Any:
        return self.answer


class Kept(BaseCache):
    answer: Any

    def lookup(self, prompt: Any, llm_string: Any) -> Any:
        return self.answer

    def update(self, prompt: Any, llm_string: Any, return_val: Any) -> None: ...
    def clear(self, **kwargs: Any) -> None: ...


def answer(random: Random) -> Any:
    """Anything that is not awaited: what is has its call around it until then."""
    while class_has(found := value(random), "__await__"):
        pass
    return found


def embeddings(random: Random) -> None:
    inner = Vectors()
    inner.model, inner.answer = value(random), answer(random)
    wrapped: Any = InstrumentedEmbeddings(inner)
    asked: Any = value(random)
    assert wrapped.embed_documents(asked) is inner.answer
    assert wrapped.embed_query(asked) is inner.answer
    assert done(wrapped.aembed_query(asked)) is inner.answer


def reranker(random: Random) -> None:
    inner = Ranked()
    inner.answer = answer(random)
    wrapped = InstrumentedReranker(inner, provider="cohere", model="rerank")
    assert wrapped.compress_documents(value(random), value(random)) is inner.answer


def cached(random: Random) -> None:
    inner = Kept()
    inner.answer = value(random)
    wrapped = InstrumentedCache(inner, evictions=lambda: random.random(), entries=lambda: None)  # type: ignore[arg-type,return-value]
    assert wrapped.lookup(value(random), value(random)) is inner.answer
    wrapped.update(value(random), value(random), value(random))


COUNTS: dict[Callable[[Random], None], tuple[int, int, int]] = {
    call: (1, 0, 0),
    stream: (1, 0, 0),
    asynchronous_stream: (1, 0, 0),
    finished_call: (2, 0, 0),
    finished_and_failed: (1, 1, 0),
    finished_tool: (0, 1, 0),
    run: (0, 1, 1),
    decorated: (0, 4, 4),
    agent: (3, 0, 3),
    labelled: (1, 0, 1),
    within_langchain: (2, 1, 1),
    failing: (1, 1, 1),
    cache: (0, 0, 0),
    choice: (0, 0, 0),
    application_error: (0, 0, 0),
    embeddings: (3, 0, 0),
    reranker: (1, 0, 0),
    cached: (0, 0, 0),
}
"""The calls, tools and runs of each use."""


@pytest.mark.parametrize("use", COUNTS, ids=lambda use: use.__name__)
def test_nothing_public_raises_and_each_call_is_counted_once(
    use: Callable[[Random], None], recorder: MemoryRecorder, proves: Proves
) -> None:
    random = Random(use.__name__)
    for _ in range(TIMES):
        use(random)
    assert_settled(recorder)
    gc.collect()
    calls, tools, runs = (TIMES * each for each in COUNTS[use])
    assert calls_of(recorder) == calls
    assert tools_of(recorder) == tools
    assert recorder.value("agent_runs_total") == runs
    assert all(0 <= sample.value < 1e13 for sample in amounts(recorder))
    made = calls + tools + runs
    proves(
        f"{TIMES:,} uses of objects that raise, lie, are huge, are slow or record calls themselves",
        f"0 raised, 0 left open, {made:,} of {made:,} calls, tools and runs counted, once",
    )


def amounts(recorder: MemoryRecorder) -> list[Any]:
    """What is counted: neither NaN, nor infinite, nor what no calls can come to."""
    return [
        sample
        for sample in recorder.samples()
        if sample.name.endswith(("_total", "_sum", "_count", "_bucket"))
    ]
