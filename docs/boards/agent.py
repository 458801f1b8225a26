"""Agent: what one agent does now, how its runs and calls go, and what its tools cost it in time."""

from __future__ import annotations

from typing import Any

from agentmetrics import catalog as c
from agentmetrics.recording.metric import Metric
from boards.board import board, objectives
from boards.panels import COUNT, bars, heat_map, number, series
from boards.selectors import (
    CHAIN,
    ENDED,
    RANGE,
    buckets,
    highest,
    increase,
    mean,
    quantile,
    rate,
    ratio,
    ratio_by,
    total,
)
from boards.tables import Column, rows

STUCK = ((300, "orange"), (1800, "red"))
"""Seconds."""


def make() -> dict[str, Any]:
    return board(
        "agent",
        "Agent",
        "One agent, or a few: what they do now, how their runs and calls go, what their tools do.",
        [
            ("Now", _now()),
            ("Runs", _runs()),
            ("Calls", _calls()),
            ("Streams", _streams()),
            ("Tools and retrievers", _tools()),
            ("Cache and memory", _memory()),
        ],
        chain=CHAIN,
        more=objectives("slo_latency", "slo_first_token"),
    )


def spread(metric: Metric) -> dict[str, str]:
    """The quantiles that boards show of a histogram, by their legends."""
    return {f"p{round(q * 100)}": quantile(q, metric) for q in (0.5, 0.9, 0.99)}


def _now() -> list[Any]:
    by = "agent_name"
    failed, ended = (increase(c.LLM_CALLS, status=status) for status in ("error", ENDED))
    return [
        number("Runs", increase(c.AGENT_RUNS), COUNT, "Runs, however they ended.", width=3),
        number(
            "Run success rate",
            ratio(increase(c.AGENT_RUNS, status="success"), increase(c.AGENT_RUNS, status=ENDED)),
            "percentunit",
            "Successful runs among those that succeeded or failed.",
            steps=((0.95, "orange"), (0.99, "green")),
            base="red",
            width=3,
        ),
        number("Calls", increase(c.LLM_CALLS), COUNT, "LLM calls, however they ended.", width=3),
        number(
            "Call error rate",
            ratio(failed, ended),
            "percentunit",
            "Failed calls among those that succeeded or failed.",
            steps=((0.01, "orange"), (0.05, "red")),
            width=3,
        ),
        number(
            "Calls per run",
            mean(c.AGENT_RUN_LLM_CALLS, over=RANGE),
            "short",
            "LLM calls of an agent in one of its runs, on average.",
            width=3,
        ),
        number("Tokens", increase(c.LLM_TOKENS), COUNT, "Billed tokens.", width=3),
        number("Cost", increase(c.LLM_COST), "currencyUSD", "With a known price.", width=3),
        number(
            "Cost per run",
            mean(c.AGENT_RUN_COST, over=RANGE),
            "currencyUSD",
            "Cost of a run, on average.",
            width=3,
        ),
        rows(
            "In progress",
            {by: "Agent"},
            {
                "Runs": Column(total(c.AGENT_ACTIVE_RUNS, by), COUNT),
                "Oldest run": Column(highest(c.AGENT_OLDEST_ACTIVE_RUN, by), "s", STUCK),
                "Calls": Column(total(c.LLM_ACTIVE_CALLS, by), COUNT),
                "Oldest call": Column(highest(c.LLM_OLDEST_ACTIVE_CALL, by), "s", STUCK),
                "Tools": Column(total(c.TOOL_EXECUTIONS_ACTIVE, by), COUNT),
            },
            "What agents do at this moment, and how long the oldest of it has been going on.",
            sort="Oldest run",
            empty="No runs",
            width=12,
            height=8,
        ),
        series(
            "Runs in progress",
            {"{{agent_name}}": total(c.AGENT_ACTIVE_RUNS, by)},
            "short",
            "Runs that were going on at the time.",
            width=6,
        ),
        series(
            "Oldest run in progress",
            {"{{agent_name}}": highest(c.AGENT_OLDEST_ACTIVE_RUN, by)},
            "s",
            "Its age: a line that only rises is a run that does not end.",
            width=6,
        ),
    ]


def _runs() -> list[Any]:
    return [
        series(
            "Runs by ending",
            {"{{status}}": rate(c.AGENT_RUNS, "status")},
            "ops",
            "Runs that ended, per second.",
            stacked=True,
        ),
        series("Duration of a run", spread(c.AGENT_RUN_DURATION), "s", "From start to end."),
        series(
            "LLM calls in a run",
            spread(c.AGENT_RUN_LLM_CALLS),
            "short",
            "Many more than usual is an agent in a loop.",
        ),
        series("Tool executions in a run", spread(c.AGENT_RUN_TOOL_CALLS), "short", "Per run."),
        series(
            "Tokens in a run",
            spread(c.AGENT_RUN_TOKENS),
            "short",
            "Input and output together: a rise without more calls is a prompt that grows.",
        ),
        series("Cost of a run", spread(c.AGENT_RUN_COST), "currencyUSD", "With a known price."),
    ]


def _calls() -> list[Any]:
    return [
        series(
            "Calls by ending",
            {"{{status}}": rate(c.LLM_CALLS, "status")},
            "reqps",
            "Calls that ended, per second.",
            stacked=True,
        ),
        series(
            "Errors by type",
            {"{{error_type}}": rate(c.LLM_ERRORS, "error_type")},
            "reqps",
            "Failed calls per second.",
            stacked=True,
        ),
        series(
            "Why the model stopped",
            {"{{finish_reason}}": rate(c.LLM_FINISH_REASONS, "finish_reason")},
            "reqps",
            "Successful calls per second: `length` is an answer cut off, `content_filter` and "
            "`refusal` are none.",
            stacked=True,
        ),
        heat_map("Latency", buckets(c.LLM_LATENCY), "s", "How long calls took, as callers see it."),
        series(
            "Latency, by share of calls",
            {**spread(c.LLM_LATENCY), "objective": "vector($slo_latency)"},
            "s",
            "As seen by the caller, beside the objective.",
        ),
        series(
            "Latency at the provider",
            {"{{provider}}": quantile(0.95, c.LLM_API_LATENCY, "provider")},
            "s",
            "95th percentile of what the provider says, or the caller's view where it says "
            "nothing: what is missing to the caller's latency is spent on the way.",
        ),
        series(
            "Tokens per second",
            {"{{token_type}}": rate(c.LLM_TOKENS, "token_type")},
            "short",
            "Billed tokens.",
            stacked=True,
        ),
        series(
            "Kinds of tokens per second",
            {"{{token_detail}}": rate(c.LLM_TOKEN_DETAILS, "token_detail")},
            "short",
            "Parts of the billed tokens, such as those read from the prompt cache.",
        ),
        series(
            "Tokens of a call",
            {
                f"{{{{token_type}}}} p{round(q * 100)}": quantile(
                    q, c.LLM_CALL_TOKENS, "token_type"
                )
                for q in (0.5, 0.99)
            },
            "short",
            "Input that grows is a history that nobody cuts. Recorded with "
            "`AGENTMETRICS_CALL_TOKENS=on`.",
        ),
        series(
            "Cost per hour",
            {"{{model}}": f"{rate(c.LLM_COST, 'model')} * 3600"},
            "currencyUSD",
            "At the rate of the moment.",
            stacked=True,
        ),
    ]


def _streams() -> list[Any]:
    speed = f"1 / ({mean(c.LLM_TIME_PER_OUTPUT_TOKEN, 'model')} > 0)"
    return [
        series(
            "Time to the first token",
            {**spread(c.LLM_TIME_TO_FIRST_TOKEN), "objective": "vector($slo_first_token)"},
            "s",
            "Of streamed calls, beside the objective.",
        ),
        series(
            "Output tokens per second of a stream",
            {"{{model}}": speed},
            "short",
            "How fast a reader sees an answer grow, on average.",
        ),
        series(
            "Longest gap in a stream",
            spread(c.LLM_TIME_BETWEEN_CHUNKS),
            "s",
            "Between two chunks of a call: seconds are a stream that stalled.",
        ),
    ]


def _tools() -> list[Any]:
    tool, retriever = "tool_name", "retriever"
    failed, ended = (increase(c.TOOL_EXECUTIONS, tool, status=s) for s in ("error", ENDED))
    return [
        series(
            "Tool executions",
            {"{{tool_name}}": rate(c.TOOL_EXECUTIONS, tool)},
            "ops",
            "Per second.",
            stacked=True,
        ),
        bars(
            "Tool error rate",
            f"sort_desc({ratio_by(failed, ended)})",
            "{{tool_name}}",
            "percentunit",
            "Failed executions among those that succeeded or failed.",
            steps=((0.05, "orange"), (0.2, "red")),
            maximum=1,
            empty="No tools",
        ),
        series(
            "Tool duration",
            {"{{tool_name}}": quantile(0.95, c.TOOL_EXECUTION_DURATION, tool)},
            "s",
            "95th percentile.",
        ),
        series(
            "Retriever queries by ending",
            {"{{status}}": rate(c.RETRIEVER_QUERIES, "status")},
            "ops",
            "That ended, per second.",
            stacked=True,
        ),
        series(
            "Retriever duration",
            {"{{retriever}}": quantile(0.95, c.RETRIEVER_QUERY_DURATION, retriever)},
            "s",
            "95th percentile.",
        ),
        series(
            "Documents per query",
            {"{{retriever}}": mean(c.RETRIEVER_DOCUMENTS, retriever)},
            "short",
            "On average: 0 is a retriever that finds nothing.",
        ),
    ]


def _memory() -> list[Any]:
    return [
        series(
            "LLM cache",
            {"hit": rate(c.LLM_CACHE_HITS), "miss": rate(c.LLM_CACHE_MISSES)},
            "ops",
            "Lookups in LangChain's LLM cache, per second. A hit is no call and costs nothing.",
        ),
        series(
            "Resident memory",
            {"{{instance}}": highest(c.LLM_MEMORY_RSS_BYTES, "instance")},
            "bytes",
            "Of the process, when an agent's last call ended: a line that only rises is a leak.",
        ),
        series(
            "Memory gained in a run",
            {"{{agent_name}}": highest(c.AGENT_RUN_RSS_DELTA, "agent_name")},
            "bytes",
            "By the agent's last run, and what went on beside it: an agent whose line stays above "
            "0 is where a leak may be.",
        ),
        series(
            "Available memory",
            {"{{instance}}": highest(c.LLM_MEMORY_AVAILABLE_BYTES, "instance")},
            "bytes",
            "On the machine.",
        ),
    ]
