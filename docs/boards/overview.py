"""Overview: is anything wrong, what does it cost, and whose is it?"""

from __future__ import annotations

from typing import Any

from agentmetrics import catalog as c
from boards.board import board, grouping, objectives
from boards.panels import COUNT, bars, number, series, shares
from boards.selectors import (
    CHAIN,
    ENDED,
    RANGE,
    both,
    highest,
    increase,
    quantile,
    rate,
    ratio,
    ratio_by,
    total,
)
from boards.tables import Column, rows
from boards.targets import unreachable

ERRORS = ((0.01, "orange"), (0.05, "red"))
OF_OBJECTIVE = ((0.8, "orange"), (1, "red"))


def make() -> dict[str, Any]:
    return board(
        "overview",
        "Agents overview",
        "Whether anything is wrong with the agents, what they cost, and which of them it is.",
        [
            ("Now", _now()),
            ("Agents", _agents()),
            ("Over time", _over_time()),
            ("Cost", _cost()),
        ],
        chain=CHAIN,
        more=[
            *objectives("slo_availability", "slo_latency", "slo_first_token"),
            grouping(*CHAIN),
        ],
    )


def error_share() -> str:
    failed, ended = (increase(c.LLM_CALLS, status=s) for s in ("error", ENDED))
    return ratio(failed, ended)


def _now() -> list[Any]:
    hits, misses = increase(c.CACHE_HITS), increase(c.CACHE_MISSES)
    slowest = quantile(0.95, c.LLM_LATENCY, over=RANGE)
    first = quantile(0.95, c.LLM_TIME_TO_FIRST_TOKEN, over=RANGE)
    return [
        number(
            "Total requests",
            increase(c.LLM_CALLS),
            COUNT,
            "LLM calls that ended in the time range, however they ended.",
            width=3,
        ),
        number(
            "Success rate",
            ratio(increase(c.LLM_CALLS, status="success"), increase(c.LLM_CALLS, status=ENDED)),
            "percentunit",
            "Successful calls among those that succeeded or failed.",
            steps=((0.95, "orange"), (0.99, "green")),
            base="red",
            width=3,
        ),
        number(
            "Error rate",
            error_share(),
            "percentunit",
            "Failed calls among those that succeeded or failed.",
            steps=ERRORS,
            width=3,
        ),
        number(
            "Error budget used",
            f"({error_share()}) / (1 - $slo_availability)",
            "percentunit",
            "Error rate relative to what the availability objective allows: over 100%, the "
            "objective was missed in the time range.",
            steps=OF_OBJECTIVE,
            width=3,
        ),
        number(
            "p95 latency / SLO",
            f"{slowest} / $slo_latency",
            "percentunit",
            "95th percentile of the duration of a call, relative to the latency objective.",
            steps=OF_OBJECTIVE,
            width=3,
        ),
        number(
            "First token / SLO",
            f"{first} / $slo_first_token",
            "percentunit",
            "95th percentile of the time to the first token of a stream, relative to the "
            "objective.",
            steps=OF_OBJECTIVE,
            empty="No streams",
            width=3,
        ),
        number(
            "Total cost",
            increase(c.LLM_COST),
            "currencyUSD",
            "Cost of calls with a known price, in the last 24 hours.",
            last="24h",
            width=3,
        ),
        number(
            "Unreachable",
            unreachable(),
            COUNT,
            "Targets of the chosen jobs that Prometheus could not scrape.",
            steps=((1, "red"),),
            width=3,
        ),
        number(
            "Active requests",
            total(c.LLM_ACTIVE_CALLS),
            COUNT,
            "Calls in flight.",
            width=3,
        ),
        number(
            "Oldest run",
            highest(c.AGENT_OLDEST_ACTIVE_RUN),
            "s",
            "Age of the oldest agent run in progress; 0 if there is none. A run much older than "
            "usual may be stuck.",
            steps=((300, "orange"), (1800, "red")),
            width=3,
        ),
        number(
            "Cache hit rate",
            ratio(hits, both(hits, misses)),
            "percentunit",
            "Lookups that a cache answered.",
            empty="No lookups",
            width=3,
        ),
        number(
            "Most used budget",
            f"max({highest(c.BUDGET_SPEND, 'budget', 'period')}"
            f" / ({highest(c.BUDGET_LIMIT, 'budget', 'period')} > 0))",
            "percentunit",
            "Spend relative to the limit, of the budget where this is highest.",
            steps=OF_OBJECTIVE,
            empty="No budgets",
            width=3,
        ),
        number(
            "Budget refusals",
            increase(c.BUDGET_BLOCKED_CALLS),
            COUNT,
            "Calls that a budget refused in the time range.",
            steps=((1, "orange"),),
            empty="No budgets",
            width=3,
        ),
        number(
            "Spend vs. usual",
            highest(c.LLM_COST_ANOMALY),
            "percentunit",
            "Spend of the last hour relative to the same hour of the previous days, of the agent "
            "where this is highest.",
            steps=((2, "orange"), (3, "red")),
            empty="No ledger",
            width=3,
        ),
        number(
            "Missing from cost",
            both(increase(c.LLM_UNPRICED_CALLS), increase(c.LLM_UNMETERED_CALLS)),
            COUNT,
            "Calls without a known price, and calls that told no tokens.",
            steps=((1, "orange"),),
            width=3,
        ),
        number(
            "Application errors",
            increase(c.APPLICATION_ERRORS),
            COUNT,
            "Errors that the application recorded in the time range.",
            steps=((1, "orange"),),
            empty="None recorded",
            width=3,
        ),
    ]


def _agents() -> list[Any]:
    by = "agent_name"
    calls = increase(c.LLM_CALLS, by)
    return [
        rows(
            "Agents",
            {by: "Agent"},
            {
                "Calls": Column(calls, COUNT),
                "Runs": Column(increase(c.AGENT_RUNS, by), COUNT),
                "Error rate": Column(
                    ratio_by(
                        increase(c.LLM_CALLS, by, status="error"),
                        increase(c.LLM_CALLS, by, status=ENDED),
                    ),
                    "percentunit",
                    ERRORS,
                ),
                "p95 latency": Column(quantile(0.95, c.LLM_LATENCY, by, over=RANGE), "s"),
                "Tokens": Column(increase(c.LLM_TOKENS, by), COUNT),
                "Cost": Column(increase(c.LLM_COST, by), "currencyUSD"),
                "In flight": Column(total(c.LLM_ACTIVE_CALLS, by), COUNT),
                "Oldest run": Column(highest(c.AGENT_OLDEST_ACTIVE_RUN, by), "s"),
            },
            "Every agent in the time range. Click a name to look into it.",
            sort="Cost",
            height=10,
        ),
    ]


def _over_time() -> list[Any]:
    return [
        series(
            "Requests by agent",
            {"{{agent_name}}": rate(c.LLM_CALLS, "agent_name")},
            "reqps",
            "Calls per second.",
        ),
        series(
            "Error rate by provider",
            {
                "{{provider}}": ratio_by(
                    rate(c.LLM_CALLS, "provider", status="error"),
                    rate(c.LLM_CALLS, "provider", status=ENDED),
                ),
                "objective": "vector(1 - $slo_availability)",
            },
            "percentunit",
            "Failed calls among those that succeeded or failed.",
        ),
        series(
            "Latency",
            {
                **{f"p{round(q * 100)}": quantile(q, c.LLM_LATENCY) for q in (0.5, 0.9, 0.99)},
                "objective": "vector($slo_latency)",
            },
            "s",
            "Duration of a call as seen by the caller.",
        ),
        series(
            "Tokens by model",
            {"{{model}}": rate(c.LLM_TOKENS, "model")},
            "short",
            "Billed tokens per second.",
            width=12,
            stacked=True,
        ),
        series(
            "Cache hits beside misses",
            {"hit": rate(c.CACHE_HITS), "miss": rate(c.CACHE_MISSES)},
            "ops",
            "Lookups per second.",
            width=12,
        ),
    ]


def _cost() -> list[Any]:
    return [
        bars(
            "Cost by model",
            f"sort_desc({increase(c.LLM_COST, 'model')})",
            "{{model}}",
            "currencyUSD",
            "Cost in the time range.",
        ),
        shares(
            "Cost by $group_by",
            increase(c.LLM_COST, "$group_by"),
            "__auto",
            "currencyUSD",
            "Cost in the time range, by the label that *Group by* says: a team, where there is an "
            "extra label for it.",
        ),
        series(
            "Cost per hour by agent",
            {"{{agent_name}}": f"{rate(c.LLM_COST, 'agent_name')} * 3600"},
            "currencyUSD",
            "At the rate of the moment.",
            stacked=True,
        ),
    ]
