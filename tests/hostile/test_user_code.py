"""User code that runs inside ours raises, lies, or calls us again: the program notices nothing."""

from __future__ import annotations

import inspect
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from agentmetrics import (
    CacheTracker,
    InstrumentedAgent,
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
from tests.hostile import times
from tests.hostile.objects import value
from tests.unit.scripted import assert_settled

TIMES = times(short=50, whole=100_000)
"""How often each is tried."""


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    logger = logging.getLogger("agentmetrics")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with replaced(recorder):
        yield recorder
    logger.setLevel(level)


# Every event of LangChain

EVENTS = [
    name
    for name, _ in inspect.getmembers(MetricsCallbackHandler, callable)
    if name.startswith("on_")
]
STARTS = {
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


@pytest.mark.parametrize("event", EVENTS)
def test_no_event_raises(event: str, recorder: MemoryRecorder) -> None:
    random = Random(event)
    handler = MetricsCallbackHandler(recorder)
    send = getattr(handler, event)
    names = {*names_of(send), "metadata", "tags", "name", "invocation_params"} - {"run_id"}
    for _ in range(TIMES):
        run_id = uuid.uuid4() if random.random() < 0.9 else value(random)
        send(run_id=run_id, **{n: value(random) for n in sorted(names) if random.random() < 0.7})
        if event in STARTS and random.random() < 0.5:
            getattr(handler, STARTS[event])(value(random), run_id=run_id)
        del run_id
    assert_settled(recorder)


# Everything public that runs while the program does


class Agent(InstrumentedAgent):
    def run(self) -> str:
        with self.track_call("openai", "gpt-4o-mini"):
            return "done"


def call(random: Random) -> None:
    with track_call(
        value(random),
        value(random),
        agent_name=value(random),
        max_input_tokens=value(random),
        max_output_tokens=value(random),
    ) as tracked:
        tracked.record_usage(value(random), value(random), cost_usd=value(random))
        tracked.record_response(value(random))
        tracked.record_first_token()


def stream(random: Random) -> None:
    events = [value(random) for _ in range(3)]
    with track_call("openai", "gpt-4o-mini") as tracked:
        read = list(tracked.record_stream(iter(events)))
    assert list(map(id, read)) == list(map(id, events))


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
    )
    record_call("openai", "gpt-4o", usage=Usage(value(random), value(random), value(random)))


def finished_tool(random: Random) -> None:
    record_tool(
        value(random),
        agent_name=value(random),
        duration_seconds=value(random),
        started=value(random),
    )


def run(random: Random) -> None:
    with track_run(value(random), max_cost_usd=value(random)), track_tool(value(random)):
        pass
    track_run(value(random))(lambda: value(random))()


def agent(random: Random) -> None:
    own = Agent()
    own.agent_name = value(random)  # type: ignore[misc]
    assert own.run() == "done"


def labelled(random: Random) -> None:
    with labels(tenant=value(random)), track_run("a"), track_call("openai", "gpt-4o"):
        pass


def failing(random: Random) -> None:
    error = value(random)
    if not issubclass(type(error), Exception):
        error = random.choice((ValueError, OSError))(error)
    with suppress(type(error)), track_call("openai", "gpt-4o-mini"):
        raise error


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
    with routing(value(random)) as chosen:
        chosen.select(value(random), value(random))


def application_error(random: Random) -> None:
    record_error(value(random), value(random))


@pytest.mark.parametrize(
    "use",
    [
        *(call, stream, finished_call, finished_tool, run, agent, labelled, failing, cache),
        *(choice, application_error),
    ],
    ids=lambda use: use.__name__,
)
def test_nothing_public_raises(use: Callable[[Random], None], recorder: MemoryRecorder) -> None:
    random = Random(use.__name__)
    for _ in range(TIMES):
        use(random)
    assert_settled(recorder)
    assert all(0 <= sample.value < 1e13 for sample in amounts(recorder))


def amounts(recorder: MemoryRecorder) -> list[Any]:
    """What is counted: neither NaN, nor infinite, nor what no calls can come to."""
    return [
        sample
        for sample in recorder.samples()
        if sample.name.endswith(("_total", "_sum", "_count", "_bucket"))
    ]
