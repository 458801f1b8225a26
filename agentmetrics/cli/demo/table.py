"""The demo's table: what the recorder holds of each agent, beside what the wire counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from rich.table import Table

from agentmetrics import MemoryRecorder
from agentmetrics.budget.ledger.summary import Group
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.calls.outcome import CANCELLED, ERROR
from agentmetrics.cli.console import titled_table
from agentmetrics.cli.demo.wire import Tally

Numbers = dict[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One agent, or all of them; times in seconds, ``None`` where nothing was observed."""

    agent: str
    runs: int
    calls: int
    errors: int
    cancelled: int
    cache_hits: int
    tool_executions: int
    active: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: float
    latency_p50: float | None
    latency_p95: float | None
    first_token_p50: float | None

    @classmethod
    def read(cls, recorder: MemoryRecorder, agent: str, **labels: str) -> Row:
        """The series with these labels, added up."""

        def count(metric: str, **more: str) -> int:
            return round(recorder.value(metric, **labels, **more))

        def quantile(metric: str, q: float) -> float | None:
            value = recorder.histogram(metric, **labels).quantile(q)
            return None if math.isnan(value) else value

        return cls(
            agent=agent,
            runs=count("agent_runs_total"),
            calls=count("llm_calls_total"),
            errors=count("llm_calls_total", status=ERROR),
            cancelled=count("llm_calls_total", status=CANCELLED),
            cache_hits=count("llm_cache_hits_total"),
            tool_executions=count("tool_executions_total"),
            active=count("llm_active_calls"),
            input_tokens=count("llm_tokens_total", token_type="input"),
            output_tokens=count("llm_tokens_total", token_type="output"),
            cached_tokens=count("llm_token_details_total", token_detail="cache_read"),
            reasoning_tokens=count("llm_token_details_total", token_detail="reasoning"),
            cost_usd=recorder.value("llm_cost_usd_total", **labels),
            latency_p50=quantile("llm_latency_seconds", 0.5),
            latency_p95=quantile("llm_latency_seconds", 0.95),
            first_token_p50=quantile("llm_time_to_first_token_seconds", 0.5),
        )


def agent_rows(recorder: MemoryRecorder) -> list[Row]:
    """A row for every agent that the recorder knows, in the order in which they appeared."""
    samples = list(recorder.samples())
    named = (s.labels["agent_name"] for s in samples if "agent_name" in s.labels)
    return [Row.read(recorder, agent, agent_name=agent) for agent in dict.fromkeys(named)]


def total_row(recorder: MemoryRecorder) -> Row:
    """All agents together."""
    return Row.read(recorder, "total")


def differences(rows: Sequence[Row], tallies: Mapping[str, Tally]) -> list[str]:
    """What the recorder and the wire do not agree about, agent by agent; empty when equal."""
    recorded = {row.agent: asdict(row) for row in rows}
    counted = {agent: asdict(tally) for agent, tally in tallies.items()}
    found = [
        f"{agent} {field.name.replace('_', ' ')}: {ours} recorded, {theirs} counted by the server"
        for agent in dict.fromkeys((*recorded, *counted))
        for field in fields(Tally)
        if (ours := recorded.get(agent, {}).get(field.name, 0))
        != (theirs := counted.get(agent, {}).get(field.name, 0))
    ]
    running = [f"{row.agent}: {row.active} calls still active" for row in rows if row.active]
    return found + running


def cost_differences(rows: Sequence[Row], groups: Sequence[Group]) -> list[str]:
    """What the recorder and the ledger do not agree about, in whole nano-dollars."""
    kept: Counter[str] = Counter()
    for group in groups:
        kept[group.labels["agent_name"]] += group.amounts.cost_nano_usd
    recorded = {row.agent: round(row.cost_usd * NANO) for row in rows}
    return [
        f"{agent} cost: {recorded.get(agent, 0)} nano-dollars recorded, {kept[agent]} in the ledger"
        for agent in dict.fromkeys((*recorded, *kept))
        if recorded.get(agent, 0) != kept[agent]
    ]


def call_table(rows: Sequence[Row], total: Row) -> Table:
    """How often: runs, calls and how they ended."""
    table = _by_agent("Calls by agent", total.agent)
    for title, name in (
        ("runs", "runs"),
        ("calls", "calls"),
        ("errors", "errors"),
        ("cancelled", "cancelled"),
        ("cache\nhits", "cache_hits"),
        ("tools", "tool_executions"),
        ("active\nnow", "active"),
    ):
        table.add_column(title, str(getattr(total, name)), justify="right")
    for row in rows:
        counts = (row.runs, row.calls, row.errors, row.cancelled, row.cache_hits)
        table.add_row(row.agent, *map(str, (*counts, row.tool_executions, row.active)))
    return table


def time_table(rows: Sequence[Row], total: Row) -> Table:
    """How much and how long: tokens and latency."""
    table = _by_agent("Tokens and time by agent", total.agent)
    titles = (
        "input\ntokens",
        "output\ntokens",
        "latency\np50",
        "latency\np95",
        "first token\np50",
    )
    for title, text in zip(titles, _amounts(total), strict=True):
        table.add_column(title, text, justify="right")
    for row in rows:
        table.add_row(row.agent, *_amounts(row))
    return table


def _by_agent(title: str, total: str) -> Table:
    table = titled_table(title, show_footer=True)
    table.add_column("agent", total, min_width=10)
    return table


def _amounts(row: Row) -> tuple[str, ...]:
    times = (row.latency_p50, row.latency_p95, row.first_token_p50)
    tokens = (f"{row.input_tokens:,}", f"{row.output_tokens:,}")
    return (*tokens, *map(_milliseconds, times))


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1000:,.0f} ms"  # noqa: RUF001
