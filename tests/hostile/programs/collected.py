"""Generators that the collector closes at any moment: ``python -m …collected WAY TIMES``.

Prints how many calls, runs and tools were cancelled, and what the agent of a call afterwards is.
With ``finalizers``, objects are collected whose ``__del__`` records calls, in the middle of others:
prints how many calls, tools and runs were made and counted.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import coroutine
from typing import Any

from agentmetrics import (
    InstrumentedAgent,
    MemoryRecorder,
    labels,
    record_call,
    track_call,
    track_run,
    track_tool,
)
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, pipeline_of

random.seed(1)
recorder = MemoryRecorder()
pipeline_of(recorder, Options(extra_labels=("tenant",)))


def call() -> track_call:
    return track_call("openai", "gpt-4o-mini")


def blocks() -> Iterator[int]:
    with track_run("collected"), track_tool("search"), call():
        yield 1


def labelled() -> Iterator[int]:
    with labels(tenant="collected"), call():
        yield 1


@track_run("collected")
def decorated() -> Iterator[int]:
    with call():
        yield 1


class Agent(InstrumentedAgent):
    def stream(self) -> Iterator[int]:
        with self.track_call("openai", "gpt-4o-mini"):
            yield 1

    async def arun(self) -> None:
        with self.track_call("openai", "gpt-4o-mini"):
            await suspended()


@coroutine
def suspended() -> Iterator[None]:
    yield


def begun(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    work.send(None)
    return work


def read(generator: Iterator[int]) -> Iterator[int]:
    next(generator)
    return generator


WAYS: dict[str, Callable[[], object]] = {
    "blocks": lambda: read(blocks()),
    "labels": lambda: read(labelled()),
    "a decorated generator": lambda: read(decorated()),
    "the stream of an agent": lambda: read(Agent().stream()),
    "a coroutine of an agent": lambda: begun(Agent().arun()),
}


def main(way: str, times: int) -> None:
    with replaced(recorder):
        for _ in range(times):
            gc.set_threshold(random.randint(1, 60))
            cycle: list[Any] = [WAYS[way]()]
            cycle.append(cycle)
            del cycle
        gc.collect()
        record_call("openai", "gpt-4o-mini", input_tokens=1)
    calls = [s for s in recorder.samples() if s.name == "llm_calls_total" and s.value]
    cancelled = sum(s.value for s in calls if s.labels["status"] == "cancelled")
    [after] = [s for s in calls if s.labels["status"] == "success"]
    in_flight = recorder.value("agentmetrics_open_runs")
    print(json.dumps([cancelled, in_flight, after.labels["agent_name"], after.labels["tenant"]]))


class Session:
    """What tells, when it is over, what it did."""

    def __del__(self) -> None:
        with track_run("session"), labels(tenant="session"), track_tool("close"), call() as own:
            own.record_usage(1, 1)


def work() -> None:
    with track_run("collected"), labels(tenant="collected"), track_tool("search"), call() as own:
        own.record_usage(1, 1)


def finalizers(times: int) -> None:
    with replaced(recorder):
        for _ in range(times):
            gc.set_threshold(random.randint(1, 60))
            cycle: list[Any] = [Session()]
            cycle.append(cycle)
            del cycle
            work()
        gc.collect()
    metrics = "llm_calls_total", "tool_executions_total", "agent_runs_total"
    print(json.dumps([2 * times, *map(recorder.value, metrics)]))


if __name__ == "__main__":
    if sys.argv[1] == finalizers.__name__:
        finalizers(int(sys.argv[2]))
    else:
        main(sys.argv[1], int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)
