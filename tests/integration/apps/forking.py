"""Forks with a call in flight, and says as one JSON object what parent and child then see."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from agentmetrics import MemoryRecorder, PrometheusRecorder, Recorder, track_call
from agentmetrics.pipeline import pipeline_of

GAUGES = "llm_active_calls", "agentmetrics_open_runs", "llm_oldest_active_call_seconds"


def seen(recorder: Recorder) -> dict[str, float]:
    """What is in flight, and how many calls have ended."""
    families = recorder.store.collect()  # type: ignore[attr-defined]
    names = (*GAUGES, "llm_calls_total")
    values = {
        name: sum(value for f in families if f.metric.name == name for _, value in f.series)
        for name in names
    }
    return {**values, "entries": len(pipeline_of(recorder).table._open)}


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a forked child; ``None`` when the child does not end well."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    return json.loads(answer) if os.waitpid(pid, 0)[1] == 0 else None


def one_call(recorder: Recorder) -> None:
    with track_call("fake", "fake-1", recorder=recorder) as call:
        call.record_usage(10, 20)


def with_a_call_in_flight(recorder: Recorder) -> dict[str, Any]:
    one_call(recorder)
    with track_call("fake", "fake-1", recorder=recorder):

        def child() -> list[dict[str, float]]:
            before = seen(recorder)
            one_call(recorder)
            return [before, seen(recorder)]

        return {
            "child": in_child(child),
            "parent during": seen(recorder),
        }


def under_load(recorder: Recorder, forks: int = 20) -> int:
    """How many of the children could record, forked while other threads did so."""
    stop = threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            one_call(recorder)

    threads = [threading.Thread(target=hammer, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()

    def child() -> bool:
        one_call(recorder)
        return seen(recorder)["llm_active_calls"] == 0

    try:
        return sum(in_child(child) is True for _ in range(forks))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def main(kind: str) -> None:
    recorder = MemoryRecorder() if kind == "memory" else PrometheusRecorder(CollectorRegistry())
    told: dict[str, Any] = with_a_call_in_flight(recorder)
    told["parent after"] = seen(recorder)
    told["children under load"] = under_load(recorder)
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
