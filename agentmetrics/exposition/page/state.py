"""A view as the page is told of it: everything of now, and one point of its charts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from agentmetrics.live.view import AgentRow, Flow, ModelRow, View

MOST_ROWS = 200
"""Agents, and models, in the tables; the busiest ones."""
MOST_GROUPS = 20
"""Agents, and models, in one point of a chart; those with the greatest part in it."""
MOST_IN_FLIGHT = 30
SHORTEST_WINDOW = 5.0
"""Seconds. A rate over less says more about the moment than about the agent."""

Told = dict[str, Any]
OTHER = ""
"""The rest of a point. No agent and no model has an empty name: it is ``unknown`` then."""


def state_of(view: View, in_flight: Mapping[str, float] | None) -> Told:
    """What the page shows of now. ``in_flight`` are calls by model, where somebody knows them."""
    agents = sorted(view.agents, key=_busy, reverse=True)
    models = sorted(view.models, key=lambda row: -row.flow.usd_total)
    by_provider = {row.provider: row.active_calls for row in view.providers}
    flight = by_provider if in_flight is None else in_flight
    ranked = sorted(flight.items(), key=lambda item: (-item[1], item[0]))
    return {
        "time": view.time,
        "window": view.window_seconds,
        "active_runs": view.active_runs,
        "active_calls": view.active_calls,
        "oldest_run": _oldest(agents, "oldest_run_seconds"),
        "oldest_call": _oldest(agents, "oldest_call_seconds"),
        "usd_per_day": view.usd_per_day,
        "usd_today": view.usd_today,
        "unpriced": view.unpriced_calls_total,
        "all": asdict(view.flow),
        "agents": [_agent(row) for row in agents[:MOST_ROWS]],
        "more_agents": max(0, len(agents) - MOST_ROWS),
        "models": [{"name": name_of(row), **asdict(row.flow)} for row in models[:MOST_ROWS]],
        "more_models": max(0, len(models) - MOST_ROWS),
        "flight": [{"name": name, "calls": calls} for name, calls in ranked[:MOST_IN_FLIGHT]],
        "flight_by": "provider" if in_flight is None else "model",
        "budgets": [asdict(row) for row in view.budgets[:MOST_ROWS]],
        "caches": [asdict(row) for row in view.caches[:MOST_ROWS]],
    }


def point_of(view: View) -> Told | None:
    """What the charts show at one time, by agent and by model; ``None`` before there are rates."""
    if view.window_seconds < SHORTEST_WINDOW:
        return None
    return {
        "t": round(view.time, 2),
        "agents": _groups({row.agent: row.flow for row in view.agents}, view.window_seconds),
        "models": _groups({name_of(row): row.flow for row in view.models}, view.window_seconds),
        "caches": {
            row.cache: _short(row.hit_share)
            for row in view.caches[:MOST_GROUPS]
            if row.hit_share is not None
        },
        "budgets": {
            f"{row.budget}, {row.period}": _short(row.spent_usd / row.limit_usd)
            for row in view.budgets[:MOST_GROUPS]
            if row.limit_usd > 0
        },
    }


def name_of(row: ModelRow) -> str:
    """A model as ``expect`` takes it."""
    return f"{row.provider}:{row.model}"


def _agent(row: AgentRow) -> Told:
    told = {
        "name": row.agent,
        "active_runs": row.active_runs,
        "active_calls": row.active_calls,
        "oldest_run": row.oldest_run_seconds,
        "oldest_call": row.oldest_call_seconds,
        "runs_total": row.runs_total,
        "calls_per_run": row.calls_per_run,
        "usd_today": row.usd_today,
        "marks": [asdict(mark) for mark in row.marks],
    }
    return {**told, **asdict(row.flow)}


def _busy(row: AgentRow) -> tuple[float, float, float]:
    in_flight = (row.active_runs or 0.0) + (row.active_calls or 0.0)
    return in_flight, row.flow.usd_total, row.flow.calls_total


def _oldest(rows: list[AgentRow], age: str) -> Told | None:
    """The greatest age, and whose it is."""
    oldest = max(rows, key=lambda row: getattr(row, age) or 0.0, default=None)
    seconds = getattr(oldest, age, None)
    return {"agent": oldest.agent, "seconds": seconds} if oldest and seconds else None


def _groups(flows: Mapping[str, Flow], window: float) -> Told:
    """Of each: USD a minute, tokens a second, errors a minute, the median and the 95th percentile
    of latency, the median to the first token. What nothing happened to is left out."""
    there = {name: flow for name, flow in flows.items() if flow.calls_per_minute}
    names = sorted(there, key=lambda name: there[name].usd_per_minute or 0.0, reverse=True)
    told: Told = {name: _group(there[name], window) for name in names[:MOST_GROUPS]}
    rest = [_group(there[name], window)[:3] for name in names[MOST_GROUPS:]]
    if rest:
        told[OTHER] = [*map(sum, zip(*rest, strict=True)), None, None, None]
    return told


def _group(flow: Flow, window: float) -> list[float | None]:
    tokens = (flow.input_tokens_per_second or 0.0) + (flow.output_tokens_per_second or 0.0)
    return [
        _short(flow.usd_per_minute or 0.0),
        _short(tokens),
        _short((flow.errors or 0.0) * 60 / window),
        _short(flow.p50_seconds),
        _short(flow.p95_seconds),
        _short(flow.first_token_seconds),
    ]


def _short(value: float | None) -> float | None:
    """With the digits that a chart can show: there are tens of thousands of these numbers."""
    return None if value is None else float(f"{value:.4g}")
