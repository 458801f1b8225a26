"""The last runs: heard of while somebody looks, in bounds, and which of them stand out."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

import anyio
import pytest

from agentmetrics import MemoryRecorder, track_call, track_run, track_tool
from agentmetrics.calls.facts import AgentRun
from agentmetrics.exposition.page.runs import RunsTold
from agentmetrics.live import last_runs
from agentmetrics.live.last_runs import MOST_AGENTS, MOST_RUNS, LastRuns, Run, odd
from agentmetrics.pipeline import Pipeline, pipeline_of


def new() -> tuple[MemoryRecorder, Pipeline, LastRuns]:
    recorder = MemoryRecorder()
    pipeline = pipeline_of(recorder)
    return recorder, pipeline, LastRuns(lambda: pipeline)


def run(pipeline: Pipeline, agent: str = "planner") -> None:
    pipeline.finish(AgentRun(agent, time.perf_counter()))


def of(runs: LastRuns) -> dict[str, list[Run]]:
    return {agent: [each for _, each in kept] for agent, kept in runs.after(0).runs.items()}


def nobody_hears(pipeline: Pipeline) -> bool:
    """Whether the end of a run is recorded by the meter alone, as it was before anybody looked."""
    return pipeline._record["agent"] == pipeline.agents.record


# Hearing


def test_nobody_hears_of_runs_while_nobody_looks() -> None:
    _, pipeline, runs = new()
    run(pipeline)
    assert nobody_hears(pipeline)
    assert of(runs) == {}


def test_the_first_look_begins_and_what_ended_before_it_is_not_known() -> None:
    _, pipeline, runs = new()
    run(pipeline)
    runs.look()
    run(pipeline)
    run(pipeline)
    assert len(of(runs)["planner"]) == 2


def test_some_seconds_after_the_last_look_the_next_run_that_ends_lets_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, pipeline, runs = new()
    runs.look()
    run(pipeline)
    monkeypatch.setattr(last_runs, "LET_GO_SECONDS", -1.0)
    runs.look()  # the last one, long ago
    assert not nobody_hears(pipeline)
    run(pipeline)
    assert nobody_hears(pipeline)
    assert of(runs) == {}


def test_who_looks_again_begins_again_and_numbers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pipeline, runs = new()
    runs.look()
    run(pipeline)
    with monkeypatch.context() as then:
        then.setattr(last_runs, "LET_GO_SECONDS", -1.0)
        runs.look()
        run(pipeline)
    before = runs.after(0).number
    runs.look()
    run(pipeline, "writer")
    kept = runs.after(before)
    assert list(kept.runs) == ["writer"]
    assert kept.number == before + 1


def test_others_who_hear_of_runs_go_on_when_it_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pipeline, runs = new()
    heard: list[AgentRun] = []
    runs.look()
    pipeline.subscribe_to("agent", heard.append)
    monkeypatch.setattr(last_runs, "LET_GO_SECONDS", -1.0)
    runs.look()
    run(pipeline)
    run(pipeline)
    assert len(heard) == 2


def test_a_program_that_has_recorded_nothing_yet_is_heard_of_as_soon_as_it_does() -> None:
    there: list[Pipeline] = []
    runs = LastRuns(lambda: there[0] if there else None)
    runs.look()
    there.append(pipeline_of(MemoryRecorder()))
    run(there[0])
    runs.look()
    run(there[0])
    assert len(of(runs)["planner"]) == 1


# What is known of a run


def test_a_run_has_its_calls_tools_tokens_and_cost_even_if_it_began_before_the_look() -> None:
    recorder, _, runs = new()
    began = time.time()
    with track_run("planner", recorder=recorder):
        with track_call("openai", "gpt-4o-mini", recorder=recorder) as call:
            call.record_usage(input_tokens=1_000_000, output_tokens=0)
        runs.look()
        with track_call("openai", "gpt-4o-mini", recorder=recorder) as call:
            call.record_usage(input_tokens=500, output_tokens=500)
        with track_tool("search", recorder=recorder):
            pass
    (found,) = of(runs)["planner"]
    assert (found.calls, found.tools, found.tokens, found.status) == (2, 1, 1_001_000, "success")
    assert found.usd == recorder.value("llm_cost_usd_total") > 0
    assert began <= found.ended <= time.time()
    assert 0 < found.seconds <= found.ended - began + 0.01


def test_a_run_that_fails_has_its_status_and_nothing_of_the_error() -> None:
    recorder, _, runs = new()
    runs.look()
    with pytest.raises(ValueError, match="secret"), track_run("planner", recorder=recorder):
        raise ValueError("secret")
    assert of(runs)["planner"][0].status == "error"
    assert "secret" not in repr(of(runs))


@pytest.mark.anyio
async def test_runs_of_tasks_are_told_apart_and_one_that_is_cancelled_is_so(
    anyio_backend: str,
) -> None:
    recorder, _, runs = new()
    runs.look()

    async def work(tokens: int, seconds: float) -> None:
        with track_run("planner", recorder=recorder):
            with track_call("p", "m", recorder=recorder) as call:
                await anyio.sleep(0)
                call.record_usage(input_tokens=tokens, output_tokens=0)
            await anyio.sleep(seconds)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, 1, 0.0)
        tasks.start_soon(work, 2, 0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, 4, 3600.0)
        while recorder.value("llm_tokens_total", token_type="input") < 7:
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    found = of(runs)["planner"]
    assert sorted((each.tokens, each.status) for each in found) == [
        (1, "success"),
        (2, "success"),
        (4, "cancelled"),
    ]


def test_runs_that_end_in_many_threads_are_all_there() -> None:
    _, pipeline, runs = new()
    runs.look()

    def work() -> None:
        for _ in range(25):
            run(pipeline)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [number for number, _ in runs.after(0).runs["planner"]]
    assert numbers == list(range(1, 201))


# Bounds


def test_of_each_agent_the_latest_runs_are_kept() -> None:
    _, pipeline, runs = new()
    runs.look()
    for _ in range(MOST_RUNS + 50):
        run(pipeline)
    kept = runs.after(0)
    assert [number for number, _ in kept.runs["planner"]] == list(range(51, MOST_RUNS + 51))


def test_of_too_many_agents_the_least_recently_active_leave() -> None:
    _, pipeline, runs = new()
    runs.look()
    for number in range(MOST_AGENTS):
        run(pipeline, f"agent-{number}")
    run(pipeline, "agent-0")
    run(pipeline, "another")
    assert len(of(runs)) == MOST_AGENTS
    assert {"agent-0", "another"} <= of(runs).keys()
    assert "agent-1" not in of(runs)


def test_names_that_no_terminal_should_see_are_cleaned() -> None:
    _, pipeline, runs = new()
    runs.look()
    run(pipeline, "a\x1b[31m" + "b" * 500)
    (name,) = of(runs)
    assert name.isprintable()
    assert len(name) <= 128


def test_a_child_of_a_fork_lets_go_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pipeline, runs = new()
    runs.look()
    child = os.fork()
    if not child:
        monkeypatch.setattr(last_runs, "LET_GO_SECONDS", -1.0)
        runs.look()
        run(pipeline)
        os._exit(0 if nobody_hears(pipeline) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What clients are told


def told(runs: RunsTold, number: int = 0) -> tuple[int, dict[str, Any]]:
    shown = runs.take()
    return shown.number, json.loads(shown.since(number))


def test_a_client_is_told_of_the_runs_that_have_ended_since() -> None:
    _, pipeline, runs = new()
    telling = RunsTold(runs, of_one_of_several=False)
    assert told(telling)[1]["agents"] == {}
    run(pipeline)
    number, first = told(telling)
    run(pipeline)
    _, second = told(telling, number)
    everything = told(telling)[1]["agents"]["planner"]
    assert everything == first["agents"]["planner"] + second["agents"]["planner"]
    assert [row[0] for row in everything] == [1, 2]
    assert told(telling, 2)[1]["agents"] == {"planner": []}
    assert len(told(telling, 77)[1]["agents"]["planner"]) == 2  # it is another's number


def test_what_was_let_go_is_told_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _, pipeline, runs = new()
    telling = RunsTold(runs, of_one_of_several=True)
    telling.take()
    run(pipeline)
    assert told(telling)[1]["agents"].keys() == {"planner"}
    with monkeypatch.context() as then:
        then.setattr(last_runs, "LET_GO_SECONDS", -1.0)
        telling.take()
        run(pipeline)
    _, again = told(telling)
    assert (again["agents"], again["one_process"]) == ({}, True)


# What stands out


def a_run(**of_it: Any) -> Run:
    usual = {"seconds": 1.0, "calls": 1, "tools": 0, "tokens": 10, "usd": 0.01, "status": "success"}
    return Run(ended=0.0, **{**usual, **of_it})


@pytest.mark.parametrize(
    ("strange", "why"),
    [
        ({"seconds": 2.0}, ("slow",)),
        ({"usd": 0.03}, ("dear",)),
        ({"status": "error", "seconds": 9.0, "usd": 1.0}, ("error", "slow", "dear")),
        ({"status": "cancelled"}, ("cancelled",)),
    ],
)
def test_what_failed_or_takes_twice_as_much_as_four_of_five_stands_out(
    strange: dict[str, Any], why: tuple[str, ...]
) -> None:
    assert odd([*[a_run()] * 4, a_run(**strange)]) == [(a_run(**strange), why)]


def test_of_a_few_runs_and_of_runs_that_cost_nothing_none_is_slow_or_dear() -> None:
    assert odd([a_run(), a_run(seconds=100.0)]) == []
    assert odd([a_run(usd=0.0)] * 9) == []


def test_where_every_third_run_is_slow_none_of_them_is_odd() -> None:
    assert odd([a_run(), a_run(), a_run(seconds=9.0)] * 30) == []
