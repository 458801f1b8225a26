"""Reads summaries: which metric each number in them is from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agentmetrics import catalog
from agentmetrics.calls.outcome import CANCELLED, ERROR
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.showing import summarize_with
from agentmetrics.recording.values import Family, HistogramValue, Value
from agentmetrics.summary.rows import (
    AgentNumbers,
    BudgetNumbers,
    ModelNumbers,
    ToolNumbers,
)
from agentmetrics.summary.summary import RecorderSummary

Key = tuple[str, ...]
Source = tuple[Metric, Mapping[str, str]]
"""A counter or gauge, and which of its series count."""

Row = dict[str, Any]
"""The fields of a row by name."""

_CALLS: dict[str, Source] = {
    "calls": (catalog.LLM_CALLS, {}),
    "errors": (catalog.LLM_CALLS, {"status": ERROR}),
    "cancelled": (catalog.LLM_CALLS, {"status": CANCELLED}),
    "input_tokens": (catalog.LLM_TOKENS, {"token_type": "input"}),
    "output_tokens": (catalog.LLM_TOKENS, {"token_type": "output"}),
    "cached_tokens": (catalog.LLM_TOKEN_DETAILS, {"token_detail": "cache_read"}),
    "reasoning_tokens": (catalog.LLM_TOKEN_DETAILS, {"token_detail": "reasoning"}),
    "unmetered_calls": (catalog.LLM_UNMETERED_CALLS, {}),
}
_AGENTS: dict[str, Source] = {
    **_CALLS,
    "runs": (catalog.AGENT_RUNS, {}),
    "active_runs": (catalog.AGENT_ACTIVE_RUNS, {}),
    "cache_hits": (catalog.LLM_CACHE_HITS, {}),
    "tool_executions": (catalog.TOOL_EXECUTIONS, {}),
    "active": (catalog.LLM_ACTIVE_CALLS, {}),
}
_MODELS: dict[str, Source] = {**_CALLS, "unpriced_calls": (catalog.LLM_UNPRICED_CALLS, {})}
_TOOLS: dict[str, Source] = {
    "executions": (catalog.TOOL_EXECUTIONS, {}),
    "errors": (catalog.TOOL_EXECUTIONS, {"status": ERROR}),
    "cancelled": (catalog.TOOL_EXECUTIONS, {"status": CANCELLED}),
    "active": (catalog.TOOL_EXECUTIONS_ACTIVE, {}),
}
_BUDGETS: dict[str, Source] = {"blocked_calls": (catalog.BUDGET_BLOCKED_CALLS, {})}

_COST = {"cost_usd": catalog.LLM_COST}
_LIMITS = {"limit_usd": catalog.BUDGET_LIMIT, "spent_usd": catalog.BUDGET_SPEND}

_CALL_TIMES = {
    "latency_p50": (catalog.LLM_LATENCY, 0.5),
    "latency_p95": (catalog.LLM_LATENCY, 0.95),
    "first_token_p50": (catalog.LLM_TIME_TO_FIRST_TOKEN, 0.5),
}
_TOOL_TIMES = {
    "duration_p50": (catalog.TOOL_EXECUTION_DURATION, 0.5),
    "duration_p95": (catalog.TOOL_EXECUTION_DURATION, 0.95),
}

_READ = {
    metric.name
    for metric in (
        *(metric for source in (_AGENTS, _MODELS, _TOOLS) for metric, _ in source.values()),
        *_COST.values(),
        *(metric for times in (_CALL_TIMES, _TOOL_TIMES) for metric, _ in times.values()),
    )
}


def summarize(families: Sequence[Family], is_off: Callable[[str], bool]) -> RecorderSummary:
    """The summary of these series; see ``Recorder.summary``."""
    read = _Reading(families)

    def agents(by: Mapping[str, str]) -> Iterator[Row]:
        return read.rows(by, _AGENTS, _COST, _CALL_TIMES)

    models = read.rows({"provider": "provider", "model": "model"}, _MODELS, _COST, _CALL_TIMES)
    tools = read.rows({"tool": "tool_name"}, _TOOLS, {}, _TOOL_TIMES)
    budgets = read.rows({"budget": "budget", "period": "period"}, _BUDGETS, _LIMITS, {})
    total = next(agents({}), {})
    return RecorderSummary(
        agents=tuple(
            AgentNumbers(**row) for row in _busiest_first(agents({"agent": "agent_name"}))
        ),
        models=tuple(ModelNumbers(**row) for row in _busiest_first(models)),
        tools=tuple(ToolNumbers(**row) for row in _busiest_first(tools)),
        budgets=tuple(BudgetNumbers(**row) for row in budgets),
        total=AgentNumbers("total", **total),
        turned_off=tuple(sorted(filter(is_off, _READ))),
    )


summarize_with(summarize)


def _busiest_first(rows: Iterator[Row]) -> list[Row]:
    """The most expensive first, then who has made most; without those that did nothing."""
    return sorted(filter(_did_something, rows), key=_importance)


def _did_something(row: Row) -> bool:
    return any(value for value in row.values() if not isinstance(value, str))


def _importance(row: Row) -> tuple[Any, ...]:
    numbers = [row.get(name, 0) for name in ("cost_usd", "calls", "executions", "runs")]
    names = [value for value in row.values() if isinstance(value, str)]
    return (*(-number for number in numbers), *names)


class _Reading:
    """Series of one moment, to be added up by some of their labels."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = {family.metric.name: family for family in families}

    def rows(
        self,
        by: Mapping[str, str],
        counts: Mapping[str, Source],
        amounts: Mapping[str, Metric],
        quantiles: Mapping[str, tuple[Metric, float]],
    ) -> Iterator[Row]:
        """A dictionary for each set of values of the labels ``by``, which it has by these names."""
        labels = tuple(by.values())
        found: dict[Key, Row] = {}

        def put(name: str, numbers: Mapping[Key, Any]) -> None:
            for key, number in numbers.items():
                row = found.get(key)
                if row is None:
                    row = found[key] = dict(zip(by, key, strict=True))
                row[name] = number

        for name, (metric, only) in counts.items():
            sums = self._sums(metric, labels, only)
            put(name, {key: round(value) for key, value in sums.items()})
        for name, metric in amounts.items():
            put(name, self._sums(metric, labels, {}))
        for name, (metric, share) in quantiles.items():
            distributions = self._distributions(metric, labels)
            put(name, {key: of.quantile(share) for key, of in distributions.items() if of.count})
        return iter(found.values())

    def _sums(self, metric: Metric, by: Key, only: Mapping[str, str]) -> dict[Key, float]:
        sums: dict[Key, float] = {}
        for key, value in self._series(metric, by, only):
            if isinstance(value, int | float) and math.isfinite(value):
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def _distributions(self, metric: Metric, by: Key) -> dict[Key, HistogramValue]:
        added: dict[Key, HistogramValue] = {}
        for key, value in self._series(metric, by, {}):
            if isinstance(value, HistogramValue):
                added[key] = added[key] + value if key in added else value
        return added

    def _series(
        self, metric: Metric, by: Key, only: Mapping[str, str]
    ) -> Iterator[tuple[Key, Value]]:
        family = self._families.get(metric.name)
        if family is None or not {*by, *only} <= {*family.metric.labels}:
            return
        labels = family.metric.labels
        places = [labels.index(label) for label in by]
        wanted = [(labels.index(label), value) for label, value in only.items()]
        for values, value in family.series:
            if all(values[place] == text for place, text in wanted):
                yield tuple([values[place] for place in places]), value
