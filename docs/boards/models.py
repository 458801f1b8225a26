"""Models and routing: how models do beside each other, who answered, and what was not asked."""

from __future__ import annotations

from typing import Any

from agentmetrics import catalog as c
from boards.board import board, objectives
from boards.panels import COUNT, bars, heat_map, number, series, shares
from boards.selectors import (
    ANY,
    CHAIN,
    ENDED,
    RANGE,
    both_by,
    buckets,
    increase,
    mean,
    quantile,
    rate,
    ratio,
    ratio_by,
    total,
)
from boards.tables import Column, rows

ERRORS = ((0.01, "orange"), (0.05, "red"))


def make() -> dict[str, Any]:
    return board(
        "models",
        "Models and routing",
        "How models do beside each other, which of them answered, how routers chose, and what "
        "caches answered in their place.",
        [
            ("Models", _models()),
            ("Answers", _answers()),
            ("Routing", _routing()),
            ("Caches", _caches()),
        ],
        chain=CHAIN,
        more=objectives("slo_latency", "slo_first_token"),
    )


def _models() -> list[Any]:
    by = ("provider", "model")
    failed, ended = (increase(c.LLM_CALLS, *by, status=status) for status in ("error", ENDED))
    quantiles = {
        f"p{round(q * 100)}": Column(quantile(q, c.LLM_LATENCY, *by, over=RANGE), "s")
        for q in (0.5, 0.9, 0.99)
    }
    return [
        rows(
            "Models",
            {"provider": "Provider", "model": "Model"},
            {
                "Calls": Column(increase(c.LLM_CALLS, *by), COUNT),
                "Error rate": Column(ratio_by(failed, ended), "percentunit", ERRORS),
                **quantiles,
                "First token": Column(
                    quantile(0.95, c.LLM_TIME_TO_FIRST_TOKEN, *by, over=RANGE), "s"
                ),
                "Tokens": Column(increase(c.LLM_TOKENS, *by), COUNT),
                "Cost": Column(increase(c.LLM_COST, *by), "currencyUSD"),
            },
            "Every model by the name that was asked for, in the time range.",
            sort="Calls",
        ),
        series(
            "Calls by model",
            {"{{model}}": rate(c.LLM_CALLS, "model")},
            "reqps",
            "Per second.",
            stacked=True,
        ),
        series(
            "Error rate by model",
            {
                "{{model}}": ratio_by(
                    rate(c.LLM_CALLS, "model", status="error"),
                    rate(c.LLM_CALLS, "model", status=ENDED),
                )
            },
            "percentunit",
            "Failed calls among those that succeeded or failed.",
        ),
        series(
            "Errors by type",
            {"{{error_type}}": rate(c.LLM_ERRORS, "error_type")},
            "reqps",
            "Failed calls per second.",
            stacked=True,
        ),
        *(
            series(
                f"p{round(q * 100)} latency by model",
                {
                    "{{model}}": quantile(q, c.LLM_LATENCY, "model"),
                    "objective": "vector($slo_latency)",
                },
                "s",
                "Duration of a call as seen by the caller, beside the objective.",
            )
            for q in (0.5, 0.9, 0.99)
        ),
        series(
            "First token by model",
            {
                "{{model}}": quantile(0.95, c.LLM_TIME_TO_FIRST_TOKEN, "model"),
                "objective": "vector($slo_first_token)",
            },
            "s",
            "95th percentile of streamed calls, beside the objective.",
        ),
        series(
            "Time per output token by model",
            {"{{model}}": mean(c.LLM_TIME_PER_OUTPUT_TOKEN, "model")},
            "s",
            "Of streamed calls, after the first token, on average.",
        ),
        series(
            "Longest gap in a stream by model",
            {"{{model}}": quantile(0.95, c.LLM_TIME_BETWEEN_CHUNKS, "model")},
            "s",
            "95th percentile: seconds are streams that stalled.",
        ),
    ]


def _answers() -> list[Any]:
    return [
        rows(
            "Asked for and served",
            {"provider": "Provider", "model": "Asked for", "served_model": "Served"},
            {
                "Calls": Column(
                    increase(c.LLM_SERVED_CALLS, "provider", "model", "served_model"), COUNT
                )
            },
            "Which model answered when this one was asked for: a new row is a provider that "
            "changed what an alias stands for.",
            sort="Calls",
            width=12,
            height=8,
        ),
        series(
            "Why models stopped",
            {"{{finish_reason}}": rate(c.LLM_FINISH_REASONS, "finish_reason")},
            "reqps",
            "Successful calls per second: `length` is an answer cut off.",
            width=6,
            stacked=True,
        ),
        bars(
            "Answers cut off, by model",
            ratio_by(
                increase(c.LLM_FINISH_REASONS, "model", finish_reason="length"),
                increase(c.LLM_FINISH_REASONS, "model"),
            ),
            "{{model}}",
            "percentunit",
            "Share of successful calls that stopped at the limit on output tokens.",
            steps=((0.01, "orange"), (0.1, "red")),
            maximum=1,
            width=6,
        ),
    ]


def _routing() -> list[Any]:
    fallbacks = increase(c.MODEL_FALLBACKS)
    asked = increase(c.LLM_CALLS, agent_name=ANY, provider=ANY, model=ANY, status=ENDED)
    return [
        number(
            "Fallback rate",
            ratio(fallbacks, asked),
            "percentunit",
            "Calls handed to another model after one failed, among all calls, those of agents that "
            "are not chosen above included.",
            steps=((0.05, "orange"), (0.1, "red")),
            height=8,
        ),
        series(
            "Fallbacks by reason",
            {"{{reason}}": rate(c.MODEL_FALLBACKS, "reason")},
            "ops",
            "Per second.",
            width=10,
            stacked=True,
        ),
        heat_map(
            "Time to choose a model",
            buckets(c.MODEL_ROUTING_DURATION),
            "s",
            "Taken by a router.",
            width=10,
        ),
        series(
            "Selections by model",
            {"{{model}}": rate(c.MODEL_SELECTIONS, "model")},
            "ops",
            "Models chosen by routers, per second.",
            stacked=True,
        ),
        shares(
            "Selections by tier",
            increase(c.MODEL_SELECTIONS, "tier"),
            "{{tier}}",
            COUNT,
            "Models chosen by routers in the time range.",
        ),
        series(
            "Savings per hour",
            {"{{intent}}": f"{rate(c.MODEL_COST_SAVINGS, 'intent')} * 3600"},
            "currencyUSD",
            "Cost avoided by routing and by the prompt cache, by intent.",
        ),
    ]


def _caches() -> list[Any]:
    by = "cache_type"
    hits, misses = rate(c.CACHE_HITS, by), rate(c.CACHE_MISSES, by)
    read = increase(c.LLM_TOKEN_DETAILS, "model", token_detail="cache_read")
    return [
        series(
            "Hits and misses",
            {"{{cache_type}} hit": hits, "{{cache_type}} miss": misses},
            "ops",
            "Lookups per second.",
        ),
        series(
            "Hit rate",
            {"{{cache_type}}": ratio_by(hits, both_by(hits, misses))},
            "percentunit",
            "Lookups that the cache answered.",
            maximum=1,
        ),
        bars(
            "Share of the prompt cache",
            ratio_by(read, increase(c.LLM_TOKENS, "model", token_type="input")),
            "{{model}}",
            "percentunit",
            "Input tokens that the provider read from its prompt cache.",
            maximum=1,
        ),
        series(
            "LLM cache by model",
            {
                "{{model}} hit": rate(c.LLM_CACHE_HITS, "model"),
                "{{model}} miss": rate(c.LLM_CACHE_MISSES, "model"),
            },
            "ops",
            "Lookups in LangChain's LLM cache, per second.",
            width=6,
        ),
        series("Entries", {"{{cache_type}}": total(c.CACHE_ENTRIES, by)}, "short", "Now.", width=6),
        series("Size", {"{{cache_type}}": total(c.CACHE_SIZE_BYTES, by)}, "bytes", "Now.", width=6),
        series(
            "Puts and evictions",
            {
                "{{cache_type}} put": rate(c.CACHE_PUTS, by),
                "{{cache_type}} evicted": rate(c.CACHE_EVICTIONS, by),
            },
            "ops",
            "Entries that came in, and those that made room for others, per second.",
            width=6,
        ),
    ]
