"""What stands above the table: figures of all agents, budgets, what is marked, what is away."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size

from agentmetrics.cli.top.feeds import Problem
from agentmetrics.cli.top.glyphs import Glyphs
from agentmetrics.live.marks import Mark
from agentmetrics.live.view import BudgetRow, View

BAR_WIDTH = 20
MOST_BUDGETS = 4
MOST_MARKS = 3
MOST_AWAY = 4


def figures(view: View, glyphs: Glyphs, width: int) -> Iterator[str]:
    """The sums of all agents, in as many lines as they need."""
    flow = view.flow
    runs = glyphs.some(view.active_runs, "run")
    calls = glyphs.some(view.active_calls, "call")
    read, written = flow.input_tokens_per_second, flow.output_tokens_per_second
    found = [
        f"USD {glyphs.usd(flow.usd_per_minute)}/min",
        f"{glyphs.usd(view.usd_per_day)}/day at this rate",
        *([] if view.usd_today is None else [f"{glyphs.usd(view.usd_today)} today"]),
        f"{glyphs.usd(flow.usd_total)} since start",
        f"tokens/s {glyphs.number(read)} in {glyphs.number(written)} out",
        f"active {runs} {calls}",
        f"errors {glyphs.share(flow.error_share)}",
    ]
    if view.unpriced_calls_total:
        found.append(f"{glyphs.some(view.unpriced_calls_total, 'call')} unpriced")
    yield from _wrapped(found, f" {glyphs.dot} ", width)


def budgets(view: View, glyphs: Glyphs, width: int) -> Iterator[tuple[str, Sequence[Mark]]]:
    """The budgets of which most is spent, each with its marks."""
    rows = sorted(view.budgets, key=lambda row: -_spent(row))
    name_width = min(max((cell_len(_name(row)) for row in rows), default=0), max(10, width // 3))
    for row in rows[:MOST_BUDGETS]:
        share = f"{glyphs.share(_spent(row)):>5}"
        if any(mark.kind == "budget_forecast" for mark in row.marks) and row.projected_usd:
            share += f", {glyphs.share(row.projected_usd / row.limit_usd)} at the end"
        if any(mark.kind == "budget_runs_out" for mark in row.marks):
            share += f", spent in {glyphs.age(row.lasts_seconds)}"
        digits = 2 if row.limit_usd >= 1 else 4
        amounts = f"{row.spent_usd:,.{digits}f} of {row.limit_usd:,.{digits}f} USD"
        room = width - name_width - len(share) - len(amounts) - 3
        bar = glyphs.bar(_spent(row), min(BAR_WIDTH, room)) if room >= 6 else ""
        parts = [set_cell_size(_name(row), name_width), bar, share, amounts if room >= 0 else ""]
        yield " ".join(filter(None, parts)), row.marks
    if len(rows) > MOST_BUDGETS:
        yield f"and {len(rows) - MOST_BUDGETS} more budgets", ()


def _spent(row: BudgetRow) -> float:
    return row.spent_usd / row.limit_usd if row.limit_usd > 0 else 0.0


def _name(row: BudgetRow) -> str:
    return f"{row.budget} {row.period}"


def style_of(marks: Sequence[Mark]) -> str:
    """How a budget with these marks is drawn."""
    if any(mark.kind in ("budget_spent", "budget_runs_out") for mark in marks):
        return "bold red"
    return "yellow" if marks else ""


def marked(view: View) -> Iterator[str]:
    """What is stuck or loops, in words."""
    found = [(row.agent, mark) for row in view.agents for mark in row.marks]
    for agent, mark in found[:MOST_MARKS]:
        yield f"! {agent}: {mark.text}"
    if len(found) > MOST_MARKS:
        yield f"! and {len(found) - MOST_MARKS} more"


def away(problems: Mapping[str, Problem], glyphs: Glyphs) -> Iterator[str]:
    """What cannot be read, why, and since when."""
    for name, problem in [*problems.items()][:MOST_AWAY]:
        since = time.monotonic() - problem.since
        yield f"{name} {problem.text}" + (f" ({glyphs.age(since)})" if since >= 1 else "")
    if len(problems) > MOST_AWAY:
        yield f"and {len(problems) - MOST_AWAY} more that cannot be read"


def _wrapped(parts: Sequence[str], between: str, width: int) -> Iterator[str]:
    """As many parts in a line as fit."""
    line = ""
    for part in parts:
        longer = f"{line}{between}{part}" if line else part
        if line and cell_len(longer) > width:
            yield line
            longer = part
        line = longer
    yield line
