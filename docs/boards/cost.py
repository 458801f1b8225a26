"""Cost and budgets: what is spent, on what, how far budgets are, and what is not in the sums."""

from __future__ import annotations

from typing import Any

from agentmetrics import catalog as c
from boards.board import board, grouping
from boards.panels import COUNT, bars, dial, heat_map, number, series, shares
from boards.selectors import (
    CHAIN,
    RANGE,
    buckets,
    highest,
    increase,
    mean,
    quantile,
    rate,
    ratio_by,
    sel,
)
from boards.tables import Column, rows

USED = ((0.8, "orange"), (1, "red"))
BUDGET = ("budget", "period")
NO_BUDGETS = "No budgets"


def make() -> dict[str, Any]:
    return board(
        "cost",
        "Cost and budgets",
        "What is spent, on what, how far budgets are, and which calls are missing from the sums.",
        [
            ("Spend", _spend()),
            ("Where it goes", _split()),
            ("Budgets", _budgets()),
            ("Cost of a call and of a run", _each()),
            ("Savings, and what is missing", _rest()),
        ],
        chain=CHAIN,
        more=[grouping(*CHAIN)],
        since="now-24h",
    )


def _spend() -> list[Any]:
    per_second = f"sum(rate({sel(c.LLM_COST)}[{RANGE}]))"
    return [
        number(
            "Cost, 24 hours",
            increase(c.LLM_COST),
            "currencyUSD",
            "Cost of calls with a known price, in the last 24 hours.",
            last="24h",
        ),
        number(
            "Cost",
            increase(c.LLM_COST),
            "currencyUSD",
            "Cost of calls with a known price, in the time range.",
        ),
        number(
            "A day at this rate",
            f"{per_second} * 86400",
            "currencyUSD",
            "What 24 hours cost at the rate of the time range.",
        ),
        number(
            "30 days at this rate",
            f"{per_second} * 86400 * 30",
            "currencyUSD",
            "What 30 days cost at the rate of the time range.",
        ),
        number(
            "Saved",
            increase(c.MODEL_COST_SAVINGS),
            "currencyUSD",
            "Cost avoided by routing and by the provider's prompt cache.",
            empty="Nothing yet",
        ),
        number(
            "Refused by budgets",
            increase(c.BUDGET_BLOCKED_CALLS),
            COUNT,
            "Calls that a budget refused.",
            steps=((1, "orange"),),
            empty=NO_BUDGETS,
        ),
    ]


def _split() -> list[Any]:
    return [
        bars(
            "Cost by model",
            f"sort_desc({increase(c.LLM_COST, 'model')})",
            "{{model}}",
            "currencyUSD",
            "Cost in the time range, by the model that was asked for.",
        ),
        shares(
            "Cost by $group_by",
            increase(c.LLM_COST, "$group_by"),
            "__auto",
            "currencyUSD",
            "Cost in the time range, by the label that *Group by* says: a team, where there is an "
            "extra label for it.",
        ),
        bars(
            "Cost by agent",
            f"sort_desc({increase(c.LLM_COST, 'agent_name')})",
            "{{agent_name}}",
            "currencyUSD",
            "Cost in the time range. Click a bar to look into the agent.",
        ),
        series(
            "Cost per hour by agent",
            {"{{agent_name}}": f"{rate(c.LLM_COST, 'agent_name')} * 3600"},
            "currencyUSD",
            "At the rate of the moment.",
            width=12,
            stacked=True,
        ),
        series(
            "Spend beside usual",
            {"{{agent_name}}": highest(c.LLM_COST_ANOMALY, "agent_name")},
            "percentunit",
            "Spend of the last hour relative to the same hour of the previous days, from the "
            "ledger: 100% is as usual.",
            width=12,
        ),
    ]


def _budgets() -> list[Any]:
    spend, limit = (highest(m, *BUDGET) for m in (c.BUDGET_SPEND, c.BUDGET_LIMIT))
    projected = highest(c.BUDGET_PROJECTED_SPEND, *BUDGET)
    remaining = f"min by (budget, period) ({sel(c.BUDGET_REMAINING)})"
    return [
        dial(
            "Budget used",
            f"{spend} / ({limit} > 0)",
            "{{budget}} {{period}}",
            "percentunit",
            "Spend of the current period relative to the limit.",
            steps=USED,
            width=12,
            empty=NO_BUDGETS,
        ),
        bars(
            "Budget used at the end of the period",
            f"sort_desc({projected} / ({limit} > 0))",
            "{{budget}} {{period}}",
            "percentunit",
            "Projected spend relative to the limit, at the rate so far.",
            steps=USED,
            width=12,
            empty="No projection yet",
        ),
        rows(
            "Budgets",
            {"budget": "Budget", "period": "Period"},
            {
                "Limit": Column(limit, "currencyUSD"),
                "Spend": Column(spend, "currencyUSD"),
                "Used": Column(f"{spend} / ({limit} > 0)", "percentunit", USED),
                "Remaining": Column(remaining, "currencyUSD"),
                "Projected": Column(projected, "currencyUSD"),
                "Ends in": Column(f"{highest(c.BUDGET_PERIOD_END, *BUDGET)} - time()", "s"),
                "Refused calls": Column(increase(c.BUDGET_BLOCKED_CALLS, *BUDGET), COUNT),
            },
            "Every budget, in its current period. A projection appears once 1/24 of the period "
            "has passed.",
            sort="Used",
            empty=NO_BUDGETS,
            height=6,
        ),
        series(
            "Spend of budgets",
            {"{{budget}} {{period}}": spend},
            "currencyUSD",
            "In the period that was current at the time.",
            width=12,
        ),
        series(
            "Calls refused by budgets",
            {"{{budget}} {{period}}": rate(c.BUDGET_BLOCKED_CALLS, *BUDGET)},
            "reqps",
            "Per second.",
            width=12,
        ),
    ]


def _each() -> list[Any]:
    by = "agent_name"
    return [
        heat_map("Cost of a call", buckets(c.LLM_CALL_COST), "currencyUSD", "How it spreads."),
        series(
            "Cost of a call by model",
            {"{{model}}": mean(c.LLM_CALL_COST, "model")},
            "currencyUSD",
            "On average.",
        ),
        series(
            "Cost of a run by agent",
            {"{{agent_name}}": mean(c.AGENT_RUN_COST, by)},
            "currencyUSD",
            "On average.",
        ),
        rows(
            "What agents cost",
            {by: "Agent"},
            {
                "Cost": Column(increase(c.LLM_COST, by), "currencyUSD"),
                "Today": Column(highest(c.LLM_COST_TODAY, by), "currencyUSD"),
                "A call": Column(mean(c.LLM_CALL_COST, by, over=RANGE), "currencyUSD"),
                "A call, p95": Column(
                    quantile(0.95, c.LLM_CALL_COST, by, over=RANGE), "currencyUSD"
                ),
                "A run": Column(mean(c.AGENT_RUN_COST, by, over=RANGE), "currencyUSD"),
                "A run, p95": Column(
                    quantile(0.95, c.AGENT_RUN_COST, by, over=RANGE), "currencyUSD"
                ),
                "Tokens": Column(increase(c.LLM_TOKENS, by), COUNT),
            },
            "Today is what the ledger knows. Click a name to look into the agent.",
            sort="Cost",
            height=7,
        ),
    ]


def _rest() -> list[Any]:
    calls = increase(c.LLM_CALLS, "model", status="success")
    return [
        series(
            "Savings per hour",
            {"{{intent}}": f"{rate(c.MODEL_COST_SAVINGS, 'intent')} * 3600"},
            "currencyUSD",
            "By the router's intent; `prompt_cache` is what the provider's prompt cache saved.",
        ),
        rows(
            "Calls without a known price",
            {"provider": "Provider", "model": "Model"},
            {"Calls": Column(increase(c.LLM_UNPRICED_CALLS, "provider", "model"), COUNT)},
            "They used tokens and are in no sum of cost. Give their model a price in a price file.",
            sort="Calls",
            empty="All are priced",
            width=8,
            height=8,
        ),
        bars(
            "Calls without token counts",
            ratio_by(increase(c.LLM_UNMETERED_CALLS, "model"), calls),
            "{{model}}",
            "percentunit",
            "Share of successful calls that told no tokens, and so are in no sum of tokens and "
            "cost. Often `stream_usage=True` is missing.",
            steps=((0.01, "orange"), (0.1, "red")),
            maximum=1,
        ),
    ]
