"""Which tables a summary has, with their columns and how numbers are written in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from agentmetrics.summary.amounts import digits_for, written
from agentmetrics.summary.rows import AgentNumbers, BudgetNumbers, ModelNumbers, ToolNumbers
from agentmetrics.summary.table import Column, Table

UNKNOWN = "-"
"""What stands for a number that is not known; ASCII, as not every stream can carry a dash."""
_QUICK_SECONDS, _SLOW_SECONDS = 0.01, 10.0


def agent_tables(rows: Sequence[AgentNumbers], total: AgentNumbers) -> list[Table]:
    """How often, and how much and how long."""
    name = _names("agent", (row.agent for row in rows), total.agent)

    def numbers(title: str, text: Callable[[AgentNumbers], str]) -> Column:
        return Column(title, [*map(text, rows)], text(total))

    digits = digits_for(total.cost_usd or 0)
    counts = [
        numbers("runs", lambda row: f"{row.runs:,}"),
        numbers("calls", lambda row: f"{row.calls:,}"),
        numbers("errors", lambda row: f"{row.errors:,}"),
        numbers("cancelled", lambda row: f"{row.cancelled:,}"),
        numbers("cache\nhits", lambda row: f"{row.cache_hits:,}"),
        numbers("tools", lambda row: f"{row.tool_executions:,}"),
        numbers("active\nnow", lambda row: f"{row.active:,}"),
    ]
    amounts = [
        numbers("input\ntokens", lambda row: f"{row.input_tokens:,}"),
        numbers("output\ntokens", lambda row: f"{row.output_tokens:,}"),
        numbers("cost\nUSD", lambda row: _usd(row.cost_usd, digits)),
        numbers("latency\np50", lambda row: seconds(row.latency_p50)),
        numbers("latency\np95", lambda row: seconds(row.latency_p95)),
        numbers("first token\np50", lambda row: seconds(row.first_token_p50)),
    ]
    rare = ("cache\nhits", "cancelled", "tools", "active\nnow")
    detail = ("first token\np50", "latency\np50", "latency\np95", "output\ntokens", "input\ntokens")
    return [
        Table("Calls by agent", "agents", [name, *counts], rare),
        Table("Tokens, cost and time by agent", "agents", [name, *amounts], detail),
    ]


def model_table(rows: Sequence[ModelNumbers], total: AgentNumbers) -> Table:
    """Models as they were asked for; ``total`` is that of all agents, and so of all models."""
    digits = digits_for(total.cost_usd or 0)
    columns = [
        _names("model", (row.model for row in rows), total.agent),
        _names("provider", (row.provider for row in rows)),
        Column("calls", [f"{row.calls:,}" for row in rows], f"{total.calls:,}"),
        Column("errors", [f"{row.errors:,}" for row in rows], f"{total.errors:,}"),
        Column(
            "input\ntokens", [f"{row.input_tokens:,}" for row in rows], f"{total.input_tokens:,}"
        ),
        Column(
            "output\ntokens", [f"{row.output_tokens:,}" for row in rows], f"{total.output_tokens:,}"
        ),
        Column("cost\nUSD", [_priced(row, digits) for row in rows], _usd(total.cost_usd, digits)),
        Column(
            "latency\np50", [seconds(row.latency_p50) for row in rows], seconds(total.latency_p50)
        ),
        Column(
            "latency\np95", [seconds(row.latency_p95) for row in rows], seconds(total.latency_p95)
        ),
    ]
    expendable = (
        *("provider", "latency\np50", "latency\np95", "errors"),
        *("output\ntokens", "input\ntokens"),
    )
    return Table("By model", "models", columns, expendable)


def tool_table(rows: Sequence[ToolNumbers]) -> Table:
    columns = [
        _names("tool", (row.tool for row in rows)),
        Column("executions", [f"{row.executions:,}" for row in rows]),
        Column("errors", [f"{row.errors:,}" for row in rows]),
        Column("active\nnow", [f"{row.active:,}" for row in rows]),
        Column("duration\np50", [seconds(row.duration_p50) for row in rows]),
        Column("duration\np95", [seconds(row.duration_p95) for row in rows]),
    ]
    return Table("By tool", "tools", columns, ("active\nnow", "duration\np50", "duration\np95"))


def budget_table(rows: Sequence[BudgetNumbers]) -> Table:
    digits = [digits_for(row.limit_usd or 0) for row in rows]
    columns = [
        _names("budget", (row.budget for row in rows)),
        _names("period", (row.period for row in rows)),
        Column("limit\nUSD", [_usd(row.limit_usd, n) for row, n in zip(rows, digits, strict=True)]),
        Column("spent\nUSD", [_usd(row.spent_usd, n) for row, n in zip(rows, digits, strict=True)]),
        Column("spent\n%", [_percent(row) for row in rows]),
        Column("calls\nrefused", [f"{row.blocked_calls:,}" for row in rows]),
    ]
    return Table("Budgets", "budgets", columns, ("period", "calls\nrefused", "spent\n%"))


def seconds(value: float | None) -> str:
    """A time, in milliseconds while that is easy to read."""
    if value is None:
        return UNKNOWN
    if value >= _SLOW_SECONDS:
        return f"{value:,.1f} s"
    return f"{value * 1000:,.0f} ms" if value >= _QUICK_SECONDS else f"{value * 1000:.1f} ms"


def money(value: float | None) -> str:
    """An amount in a sentence."""
    return "an unknown cost" if value is None else f"USD {_usd(value, digits_for(value))}"


def _names(title: str, cells: Iterable[str], footer: str = "") -> Column:
    return Column(title, list(cells), footer, is_name=True)


def _usd(value: float | None, digits: int) -> str:
    """An amount, rounded as the ledger's are, which are whole nano-dollars."""
    if value is None:
        return UNKNOWN
    return written(Decimal(round(value * 10**9)).scaleb(-9), digits)


def _priced(row: ModelNumbers, digits: int) -> str:
    """The cost; ``unpriced`` where the calls used tokens that nobody knows the price of."""
    if row.unpriced_calls and not row.cost_usd:
        return "unpriced"
    return _usd(row.cost_usd, digits)


def _percent(row: BudgetNumbers) -> str:
    if not row.limit_usd or row.spent_usd is None:
        return UNKNOWN
    return f"{100 * row.spent_usd / row.limit_usd:,.0f}"
