"""Calls that are interrupted by calls, anywhere: ``python -m …interrupted BACKEND PLACES DIR``.

A place is where Python enters or leaves a function, of C or not: there it runs signal handlers and
the garbage collector. At each of so many places of each piece of work, the same work is done once
more, as a handler would that comes just then. Prints, by the work, how many places those were of
how many, how many calls that made, and how many of them were counted, by whom.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, cast

from agentmetrics.recording.collector import is_collecting

PATIENCE_SECONDS = 60
"""How long a step may take before it hangs."""


Place = tuple[str, int, str]
"""The file, the line, and whether a function is entered or left."""


def places_of(work: Callable[[], object]) -> list[Place]:
    """Where some work can be interrupted, but for what the garbage collector does in it: what is
    made in a collection is in no run."""
    places: dict[Place, None] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        if not is_collecting():
            places[frame.f_code.co_filename, frame.f_lineno, event] = None

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return list(places)


def interrupted_at(place: Place, work: Callable[[], object]) -> bool:
    """Do some work, and once more when it first comes to this place; whether it did."""
    has_come = False

    def look(frame: FrameType, event: str, argument: object) -> None:
        nonlocal has_come
        if (frame.f_code.co_filename, frame.f_lineno, event) == place and not is_collecting():
            sys.setprofile(None)
            has_come = True
            work()

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return has_come


def main(backend: str, most: int, directory: Path) -> None:
    if backend == "multiprocess":
        files = directory / "files"
        files.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(files)
    from prometheus_client import CollectorRegistry
    from prometheus_client.parser import text_string_to_metric_families

    from agentmetrics import (
        Budget,
        LedgerUnavailable,
        MemoryRecorder,
        Metric,
        PrometheusRecorder,
        Recorder,
        configure,
        get_ledger,
        record_call,
        track_call,
        track_run,
        track_tool,
    )
    from agentmetrics.catalog import HANDLER_ERRORS, LLM_CALLS

    recorder = configure(
        backend={"multiprocess": "prometheus"}.get(backend, backend),
        ledger_url=f"sqlite:///{directory}/x.db",
        max_series=10**7,
        budgets=[Budget("all", 1e6, action="block")],
        statsd_port=9,
    )
    ledger = get_ledger()
    response = {
        "model": "gpt-4o-mini-2024-07-18",
        "usage": {"prompt_tokens": 10, "completion_tokens": 1},
        "choices": [{"finish_reason": "stop"}],
    }

    def calls(agent: str, to: Recorder | None = None) -> None:
        """Five, one of which is abandoned, and in the first of which the agent is new."""
        track_call("openai", "gpt-4o-mini", agent_name=agent, recorder=to).__enter__()
        with (
            track_run(agent, max_cost_usd=1e6, recorder=to),
            track_tool(f"of-{agent}", recorder=to),
            track_call("openai", "gpt-4o-mini", recorder=to) as call,
        ):
            call.record_response(response)
        with suppress(ValueError), track_call("openai", "gpt-4o", agent_name=agent, recorder=to):
            raise ValueError
        with track_call("openai", "gpt-4o-mini", agent_name=agent, recorder=to) as call:
            list(call.record_stream(iter([response])))
        record_call("openai", "gpt-4o-mini", agent_name=agent, input_tokens=1, recorder=to)

    def readings(agent: str) -> None:
        calls(agent)
        recorder.flush()
        with suppress(LedgerUnavailable):
            ledger.flush()
        list(recorder.samples())
        if isinstance(recorder, PrometheusRecorder):
            recorder.exposition()

    made: dict[str, Recorder] = {}

    def first_calls(agent: str) -> None:
        """The first of a recorder, which the interrupt may make as well."""
        if agent not in made:
            made.setdefault(
                agent,
                MemoryRecorder()
                if backend != "prometheus"
                else PrometheusRecorder(CollectorRegistry()),
            )
        calls("a", made[agent])

    agents = count(1)

    def tried(work: Callable[[str], None]) -> tuple[list[str], int]:
        """The agents whose work was interrupted, and how many places there are."""
        places = places_of(lambda: work(str(next(agents))))
        names = []
        for place in random.Random(1).sample(places, min(most, len(places))):
            agent = str(next(agents))
            faulthandler.dump_traceback_later(PATIENCE_SECONDS, exit=True)
            if interrupted_at(place, partial(work, agent)):
                names.append(agent)
        return names, len(places)

    def counted(of: Recorder) -> Counter[str]:
        found: Counter[str] = Counter()
        for metric, series in of.collect():
            if metric.name == LLM_CALLS.name:
                for values, value in series:
                    found[values[metric.labels.index("agent_name")]] += int(cast("float", value))
        return found

    def total(of: Recorder, metric: Metric) -> float:
        return of.value(metric.name)

    readings("warm")
    in_calls, in_readings = tried(calls), tried(readings)
    gc.collect()  # a frame that was looked at may hold in a cycle what was abandoned in it
    readings("last")  # by which what was abandoned has ended
    by: dict[str, Counter[str]] = {"metrics": counted(recorder)}
    groups = ledger.summary().groups
    by["ledger"] = Counter({each.labels["agent_name"]: each.amounts.calls for each in groups})
    if isinstance(recorder, PrometheusRecorder):
        by["scrape"] = Counter()
        for family in text_string_to_metric_families(recorder.exposition().body.decode()):
            for sample in family.samples:
                if sample.name == LLM_CALLS.name:
                    by["scrape"][sample.labels["agent_name"]] += int(sample.value)
    came: dict[str, Any] = {"errors": total(recorder, HANDLER_ERRORS)}
    for work, (names, places) in (("calls", in_calls), ("readings", in_readings)):
        done = {who: sum(of[name] for name in names) for who, of in by.items()}
        came[work] = {"places": [len(names), places], "calls": 10 * len(names), **done}
    agents = count(1)
    names, places = tried(first_calls)
    gc.collect()
    firsts = sum(counted(made[name])["a"] for name in names)
    came["first calls"] = {
        "places": [len(names), places],
        "calls": 10 * len(names),
        "metrics": firsts,
    }
    came["errors"] += sum(total(each, HANDLER_ERRORS) for each in made.values())
    print(json.dumps(came))
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
