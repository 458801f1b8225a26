"""What a watch is told, what it marks, and what is no exposition of ours."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from agentmetrics import MemoryRecorder, PrometheusRecorder, catalog
from agentmetrics.live import marks
from agentmetrics.live.build import details, view
from agentmetrics.live.samples import Snapshot, Unreadable, from_exposition, from_recorder
from agentmetrics.live.view import AgentRow, View
from agentmetrics.live.watch import Watch
from agentmetrics.operations.rules import agents, budgets, stuck

CALL = ("planner", "openai", "gpt-4o")


def exposition(*metrics: str) -> str:
    return "\n".join(["# TYPE llm_calls_total counter", *metrics, ""])


def calls(recorder: MemoryRecorder, count: int, status: str = "success") -> None:
    recorder.counter(catalog.LLM_CALLS).labels(*CALL, status).inc(count)


def watched(*snapshots: Snapshot) -> Watch:
    watch = Watch()
    for snapshot in snapshots:
        watch.add("here", snapshot)
    return watch


def only(seen: View) -> AgentRow:
    (row,) = seen.agents
    return row


# What is read


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "an empty answer"),
        ("\n\n", "an empty answer"),
        ("<!DOCTYPE html><p>llm_calls_total 1</p>\n", "a page of HTML"),
        ("# TYPE llm_calls_total counter\nllm_calls_total{agent_na", "cut off"),
        ("# HELP up Up.\n# TYPE up gauge\nup 1\n", "metrics of another program"),
        ("hello\n", "no metrics"),
        (exposition('llm_calls_total{agent_name="a} 1'), "a line that cannot be read"),
        (exposition('llm_calls_total{agent_name="a"} many'), "a line that cannot be read"),
        (exposition("llm_calls_total{} "), "a line that cannot be read"),
    ],
)
def test_what_is_no_exposition_of_ours_is_said(text: str, what: str) -> None:
    with pytest.raises(Unreadable, match=what):
        from_exposition(text, 0.0)


def test_openmetrics_may_end_without_a_line_feed() -> None:
    lines = ("# TYPE llm_calls counter", 'llm_calls_total{agent_name="a"} 1.0', "# EOF")
    assert from_exposition("\n".join(lines), 0.0).series["llm_calls_total"]


def test_an_older_exposition_has_less() -> None:
    text = exposition('llm_calls_total{agent_name="a",model="m",provider="p",status="success"} 3')
    row = only(view(watched(from_exposition(text, 0.0))))
    assert (row.flow.calls_total, row.active_runs, row.oldest_run_seconds) == (3, None, None)


def test_values_that_are_no_numbers_are_left_out() -> None:
    text = exposition(
        'agent_active_runs{agent_name="a"} NaN',
        'llm_calls_total{x="y"} +Inf',
        'llm_cost_usd_total{x="y"} 1.7e308',  # two of which are none
    )
    assert from_exposition(text, 0.0).series == {}


def test_nothing_in_a_label_is_a_command_to_a_terminal() -> None:
    text = exposition('agent_active_runs{agent_name="a\x1b[31m\\n\\"b\\\\\u202e"} 1')
    assert list(from_exposition(text, 0.0).series["agent_active_runs"]) == [('a_[31m_"b\\',)]


def test_exemplars_and_timestamps_are_no_part_of_a_value() -> None:
    text = exposition(
        'llm_calls_total{agent_name="a } 7",status="error"} 1.0 # {trace_id="ab"} 2.0 1.5',
        'agent_active_runs{agent_name="a"} 3 1700000000000',
    )
    found = from_exposition(text, 0.0).series
    assert found == {
        "llm_calls_total": {("a } 7", "", "", "error"): 1},
        "agent_active_runs": {("a",): 3},
    }


@pytest.mark.parametrize("encode", [generate_latest, generate_openmetrics])
def test_metrics_of_the_program_itself_are_left_alone(encode) -> None:
    registry = CollectorRegistry()
    Counter("redis_cache_hits_total", "Hits.", ["agent_name"], registry=registry).labels("x").inc()
    Histogram("seconds", "Durations.", registry=registry).observe(1)
    recorder = PrometheusRecorder(registry=registry)
    recorder.counter(catalog.LLM_CALLS).labels(*CALL, "success").inc()
    found = from_exposition(encode(registry).decode(), 0.0)
    assert found.series["llm_calls_total"] == {(*CALL, "success"): 1}
    assert not any("redis" in name or "seconds" in name for name in found.series)


def test_buckets_that_lag_behind_are_not_negative() -> None:
    name = "llm_latency_seconds_bucket"
    labels = 'agent_name="a",model="m",provider="p"'
    text = exposition(
        f'{name}{{{labels},le="1.0"}} 5',
        f'{name}{{{labels},le="2.5"}} 4',
        f'{name}{{{labels},le="+Inf"}} 6',
        f'{name}{{{labels},le="odd"}} 6',
    )
    found = from_exposition(text, 0.0)
    assert found.series["llm_latency_seconds"] == {
        ("a", "p", "m", "1.0"): 5,
        ("a", "p", "m", "+Inf"): 1,
    }


# Windows


def test_rates_are_unknown_before_the_second_snapshot(recorder: MemoryRecorder) -> None:
    calls(recorder, 3)
    seen = view(watched(from_recorder(recorder, 5.0)))
    assert (seen.flow.calls_total, seen.flow.calls_per_minute, seen.usd_per_day) == (3, None, None)
    assert only(seen).flow.error_share is None


def test_a_step_that_began_before_the_window_counts_with_its_share(recorder) -> None:
    watch = watched(from_recorder(recorder, 0.0))
    calls(recorder, 100)
    watch.add("here", from_recorder(recorder, 100.0))
    assert view(watch, 10.0).flow.calls_per_minute == pytest.approx(60)


def test_a_source_that_is_away_keeps_its_totals_and_shows_nothing_in_flight(recorder) -> None:
    recorder.gauge(catalog.AGENT_ACTIVE_RUNS).labels("planner").set(2)
    calls(recorder, 3)
    watch = watched(from_recorder(recorder, 0.0))
    watch.lose("here")
    seen = view(watch)
    assert (seen.flow.calls_total, seen.active_runs) == (3, None)
    watch.add("here", from_recorder(recorder, 1.0))
    assert view(watch).active_runs == 2


def test_a_clock_that_is_set_back_begins_the_window_anew(recorder) -> None:
    watch = watched(from_recorder(recorder, 1000.0))
    calls(recorder, 3)
    watch.add("here", from_recorder(recorder, 10.0))
    calls(recorder, 2)
    watch.add("here", from_recorder(recorder, 12.0))
    assert view(watch).flow.calls_per_minute == 60
    assert view(watch).window_seconds == 2


def test_what_is_older_than_a_watch_remembers_is_forgotten(recorder) -> None:
    watch = Watch(keep_seconds=30.0)
    for second in range(0, 1000, 10):
        calls(recorder, 1)
        watch.add("here", from_recorder(recorder, float(second)))
    assert watch.growth(10_000.0).amounts["llm_calls_total"] == {(*CALL, "success"): 4}
    assert watch.totals()["llm_calls_total"] == {(*CALL, "success"): 100}


def test_who_looks_for_long_knows_as_much_of_fewer_steps(recorder: MemoryRecorder) -> None:
    watch, calls = Watch(), recorder.counter(catalog.LLM_CALLS).labels("a", "b", "c", "success")
    for second in range(1001):
        watch.add("here", from_recorder(recorder, float(second)))
        calls.inc(2 if second < 900 else 5)
    for window, count in ((10, 50), (60, 300), (300, 900), (895, 2090)):
        assert sum(watch.growth(window).amounts["llm_calls_total"].values()) == pytest.approx(count)
    assert len(list(watch._steps)) < 200


def test_errors_are_of_calls_that_were_tried_to_the_end(recorder) -> None:
    watch = watched(from_recorder(recorder, 0.0))
    calls(recorder, 3)
    calls(recorder, 1, "error")
    calls(recorder, 6, "cancelled")
    watch.add("here", from_recorder(recorder, 60.0))
    flow = view(watch).flow
    assert (flow.calls_per_minute, flow.errors, flow.error_share) == (10, 1, 0.25)


def test_the_details_of_an_agent_are_its_own(recorder) -> None:
    watch = watched(from_recorder(recorder, 0.0))
    calls(recorder, 1)
    recorder.counter(catalog.LLM_CALLS).labels("writer", "openai", "o4-mini", "success").inc(5)
    recorder.counter(catalog.LLM_ERRORS).labels("writer", "openai", "o4-mini", "timeout").inc(5)
    recorder.counter(catalog.TOOL_EXECUTIONS).labels("planner", "search", "error").inc(2)
    recorder.gauge(catalog.TOOL_EXECUTIONS_ACTIVE).labels("planner", "crawl").set(1)
    recorder.counter(catalog.RETRIEVER_QUERIES).labels("planner", "docs", "success").inc(4)
    watch.add("here", from_recorder(recorder, 60.0))
    found = details(watch, "planner")
    assert found is not None
    assert [row.model for row in found.models] == ["gpt-4o"]
    assert [(row.name, row.active, row.error_share) for row in found.tools] == [
        ("crawl", 1, None),
        ("search", None, 1),
    ]
    assert [(row.name, row.per_minute) for row in found.retrievers] == [("docs", 4)]
    assert found.errors == ()
    assert details(watch, "nobody") is None


# Marks


def kinds(seen: View) -> list[str]:
    return [mark.kind for _, mark in seen.marked]


def test_the_rules_of_marks_are_those_of_the_alerts() -> None:
    conditions = {
        alert.name: alert.condition for alert in (*stuck.ALERTS, *agents.ALERTS, *budgets.ALERTS)
    }
    assert f"> {marks.STUCK_SECONDS:g}\n" in conditions["AgentStuck"]
    assert f"[{marks.STUCK_SECONDS / 60:g}m]" in conditions["AgentStuck"]
    assert conditions["CallStuck"].endswith(f"> {marks.STUCK_SECONDS:g}")
    assert f"[{marks.LOOP_SECONDS / 60:g}m]" in conditions["AgentLoopsNow"]
    assert f"> {marks.LOOP_CALLS:g}\n" in conditions["AgentLoopsNow"]
    assert f"> {marks.NEARLY_SPENT:g}\n" in conditions["BudgetNearlySpent"]
    assert ">= 1" in conditions["BudgetSpent"]
    assert f"> {marks.FORECAST_FROM:g}\n" in conditions["BudgetForecast"]
    assert f"< {marks.SOON_SECONDS:g}\n" in conditions["BudgetRunsOutSoon"]
    assert conditions["BudgetRunsOutSoon"].endswith(f"- time() > {marks.SOON_SECONDS:g}")


def test_a_run_in_which_nothing_ends_is_stuck(recorder) -> None:
    recorder.gauge(catalog.AGENT_OLDEST_ACTIVE_RUN).labels("planner").set(901)
    recorder.gauge(catalog.AGENT_ACTIVE_RUNS).labels("planner").set(1)
    watch = watched(from_recorder(recorder, 0.0))
    assert kinds(view(watch)) == []  # nobody has watched yet
    watch.add("here", from_recorder(recorder, 60.0))
    assert kinds(view(watch)) == ["stuck"]
    recorder.counter(catalog.TOOL_EXECUTIONS).labels("planner", "search", "success").inc()
    watch.add("here", from_recorder(recorder, 70.0))
    assert kinds(view(watch)) == []


def test_a_call_that_does_not_end_is_marked(recorder) -> None:
    recorder.gauge(catalog.LLM_OLDEST_ACTIVE_CALL).labels("planner").set(901)
    recorder.gauge(catalog.LLM_ACTIVE_CALLS).labels("planner", "openai").set(1)
    (mark,) = only(view(watched(from_recorder(recorder, 0.0)))).marks
    assert (mark.kind, mark.text) == ("call_stuck", "a call is in flight for 15 min")


@pytest.mark.parametrize(
    ("count", "runs", "ended", "found"),
    [(61, 1, 0, ["loops"]), (60, 1, 0, []), (61, 2, 0, []), (61, 1, 1, []), (61, 0, 0, [])],
)
def test_a_run_that_makes_call_after_call_loops(recorder, count, runs, ended, found) -> None:
    recorder.gauge(catalog.AGENT_ACTIVE_RUNS).labels("planner").set(runs)
    watch = watched(from_recorder(recorder, 0.0))
    calls(recorder, count)
    recorder.counter(catalog.AGENT_RUNS).labels("planner", "success").inc(ended)
    watch.add("here", from_recorder(recorder, 300.0))
    assert kinds(view(watch)) == found


@pytest.mark.parametrize(
    ("spent", "projected", "found"),
    [
        (10, 12, ["budget_spent"]),
        (8.5, None, ["budget_nearly_spent"]),
        (8.5, 12, ["budget_nearly_spent", "budget_forecast"]),
        (3, 12, ["budget_forecast"]),
        (2, 12, []),
        (8, 9, []),
    ],
)
def test_a_budget_that_breaks_is_marked(recorder, spent, projected, found) -> None:
    budget = ("team", "daily")
    recorder.gauge(catalog.BUDGET_LIMIT).labels(*budget).set(10)
    recorder.gauge(catalog.BUDGET_SPEND).labels(*budget).set(spent)
    if projected is not None:
        recorder.gauge(catalog.BUDGET_PROJECTED_SPEND).labels(*budget).set(projected)
    assert kinds(view(watched(from_recorder(recorder, 0.0)))) == found


@pytest.mark.parametrize(
    ("usd_a_minute", "seconds", "hours_left", "found"),
    [
        (0.1, 300, 2, ["budget_runs_out"]),  # the rest, 5.5, lasts for 55 minutes
        (0.1, 240, 2, []),  # nobody has watched for long enough
        (0.01, 300, 2, []),
        (0.1, 300, 0.5, []),
        (0.0, 300, 2, []),
    ],
)
def test_a_budget_that_is_spent_within_the_hour_is_marked(
    recorder, usd_a_minute, seconds, hours_left, found
) -> None:
    budget, watch = ("team", "daily"), Watch()
    recorder.gauge(catalog.BUDGET_LIMIT).labels(*budget).set(10)
    recorder.gauge(catalog.BUDGET_PERIOD_END).labels(*budget).set(seconds + 3600 * hours_left)
    spent = 4.5 - usd_a_minute * seconds / 60
    for second in range(0, seconds + 1, 60):
        recorder.gauge(catalog.BUDGET_SPEND).labels(*budget).set(spent + usd_a_minute * second / 60)
        for source in ("one", "another"):  # which share the budget
            watch.add(source, from_recorder(recorder, float(second)))
    (row,) = view(watch).budgets
    assert [mark.kind for mark in row.marks] == found
    if found:
        assert row.lasts_seconds == pytest.approx(3300)
