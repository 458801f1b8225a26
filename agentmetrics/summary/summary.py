"""A summary: what a recorder holds by agent, model, tool and budget."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from agentmetrics.recording.frames import frame
from agentmetrics.summary import html
from agentmetrics.summary.rows import (
    AgentNumbers,
    BudgetNumbers,
    ModelNumbers,
    ToolNumbers,
)
from agentmetrics.summary.table import Table
from agentmetrics.summary.tables import agent_tables, budget_table, model_table, money, tool_table
from agentmetrics.summary.text import laid

if TYPE_CHECKING:
    from pandas import DataFrame

ROWS = 20
"""How many rows of a table are shown to people."""
NOTHING = "No agent run, LLM call or tool execution has been recorded."

Subject = Literal["agents", "models", "tools", "budgets"]
_ROWS_OF = {
    "agents": AgentNumbers,
    "models": ModelNumbers,
    "tools": ToolNumbers,
    "budgets": BudgetNumbers,
}


@dataclass(frozen=True)
class RecorderSummary:
    """What a recorder holds at one moment, by agent, model, tool and budget.

    The most expensive and busiest come first. ``str()`` has tables that fit the terminal, notebooks
    show them as HTML, and ``as_dict()`` is plain data. Times are in seconds, cost is in USD, and
    ``None`` is what is not known; quantiles are those of the histograms' buckets.
    """

    agents: tuple[AgentNumbers, ...] = ()
    models: tuple[ModelNumbers, ...] = ()
    tools: tuple[ToolNumbers, ...] = ()
    budgets: tuple[BudgetNumbers, ...] = ()
    total: AgentNumbers = field(default_factory=lambda: AgentNumbers("total"))
    """All agents together."""
    turned_off: tuple[str, ...] = ()
    """Metrics that are not recorded because the settings say so: their numbers here are 0 or
    ``None``."""

    def __bool__(self) -> bool:
        """Whether anything was recorded."""
        return bool(self.agents or self.models or self.tools)

    def __str__(self) -> str:
        return self.text()

    def text(
        self, width: int | None = None, rows: int | None = ROWS, encoding: str = "utf-8"
    ) -> str:
        """Tables of at most so many ``rows`` (``None``: all), as wide as the terminal, or 80
        columns where there is none.

        Columns are left out where there is no room for all. What nobody sees in a name, what a
        terminal would obey and what ``encoding`` lacks is shown as its escape; all else is ASCII.
        """
        columns = width or shutil.get_terminal_size().columns
        tables = (laid(table, columns, rows, encoding) for table in self.tables())
        parts = ["\n".join(table.lines()) for table in tables]
        sentences = "\n".join(fill(sentence, columns) for sentence in self.sentences())
        return "\n\n".join([*parts, sentences] if sentences else parts)

    def line(self) -> str:
        """The whole in a few words."""
        if not self:
            return "no runs, calls or tools recorded"
        total = self.total
        failed = f" ({total.errors:,} failed)" if total.errors else ""
        tokens = total.input_tokens + total.output_tokens
        said = [
            _count(len(self.agents), "agent"),
            f"{_count(total.calls, 'call')}{failed}",
            *([_count(total.tool_executions, "tool execution")] if total.tool_executions else []),
            _count(tokens, "token"),
            money(total.cost_usd),
        ]
        return ", ".join(said)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, of what JSON has."""
        return {name: _plain(getattr(self, name)) for name in (f.name for f in fields(self))}

    def to_pandas(self, of: Subject = "agents") -> DataFrame:
        """A data frame of the ``agents``, ``models``, ``tools`` or ``budgets``.

        Raises ``ModuleNotFoundError`` where pandas is not installed, ``ValueError`` for another
        word.
        """
        if of not in _ROWS_OF:
            raise ValueError(f"a summary has no {of!r}: use one of {', '.join(_ROWS_OF)}")
        columns = [column.name for column in fields(_ROWS_OF[of])]
        return frame(map(asdict, getattr(self, of)), columns)

    def _repr_html_(self) -> str:
        return html.page(list(self.tables()), self.sentences(), ROWS)

    def tables(self) -> Iterator[Table]:
        """Those that have rows."""
        if self.agents:
            yield from agent_tables(self.agents, self.total)
        if self.models:
            yield model_table(self.models, self.total)
        if self.tools:
            yield tool_table(self.tools)
        if self.budgets:
            yield budget_table(self.budgets)

    def sentences(self) -> Iterator[str]:
        """What the tables do not say."""
        if not self:
            yield NOTHING
        unpriced = sum(row.unpriced_calls for row in self.models)
        if unpriced:
            yield f"Not in the cost: {_count(unpriced, 'call')} with an unknown price."
        unmetered = self.total.unmetered_calls
        if unmetered:
            yield f"Not in tokens and cost: {_count(unmetered, 'call')} without token counts."
        if self.turned_off:
            yield f"Turned off, so not in the tables: {', '.join(self.turned_off)}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _plain(value: Any) -> Any:
    if not isinstance(value, tuple):
        return asdict(value)
    return [each if isinstance(each, str) else asdict(each) for each in value]
