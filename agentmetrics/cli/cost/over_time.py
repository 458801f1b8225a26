"""What a terminal shows over time: tables with a row for each day, week or month, and a chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from textwrap import wrap

from rich.cells import chop_cells
from rich.table import Table

from agentmetrics.budget.ledger.summary import PeriodAmounts, Summary
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.cli.columns import (
    LABEL_WIDTH,
    Column,
    bars,
    fits,
    fitted,
    labels,
    numbers,
    room_beside,
)
from agentmetrics.cli.cost import words
from agentmetrics.cli.cost.report import Report
from agentmetrics.cli.cost.steps import Series, dearest, fewer, steps_of
from agentmetrics.cli.cost.words import NOTHING, WORDS

_MOST_BAR = 60
_HEADINGS = (20, 16, 12, 10, LABEL_WIDTH)
"""How wide the names above numbers are at most: as wide as there is room for."""


def by_step(summary: Summary, width: int) -> Table:
    """Calls and cost of each step."""
    word, digits, total = WORDS[summary.step], words.digits_for(summary.total), summary.total
    periods = list(_shown_periods(summary.periods))
    sums = [period.total for period in periods]
    costs = [own.cost_nano_usd for own in sums]
    columns = [
        labels(word, [words.span(period.start, period.end) for period in periods], "total"),
        numbers("calls", [f"{own.calls:,}" for own in sums], f"{total.calls:,}"),
        _costs(sums, digits, total),
        bars("", costs, max(costs)),
    ]
    return fitted(_title(summary), columns, width, ("", "calls"), show_footer=True)


def _shown_periods(periods: Sequence[PeriodAmounts]) -> Iterator[PeriodAmounts]:
    """The empty ones at the beginning as one: whoever wants all calls asks for many years."""
    first = next((i for i, period in enumerate(periods) if period.total != NOTHING), len(periods))
    if first:
        yield replace(periods[0], end=periods[first - 1].end)
    yield from periods[first:]


def chart(report: Report, width: int) -> Table:
    """A bar for each step, as long as there is room for."""
    summary, steps = report.summary, steps_of(report)
    sums = [each.total for each in steps]
    costs = [own.cost_nano_usd for own in sums]
    columns = [
        _when(summary, steps),
        _costs(sums, words.digits_for(summary.total), summary.total),
    ]
    room = max(LABEL_WIDTH, min(_MOST_BAR, room_beside(columns, width)))
    columns.append(bars("", costs, max(costs, default=0), room))
    return fitted(_title(summary), columns, width, ("",), show_footer=True)


def crossed(report: Report, width: int) -> Table:
    """A row for each step and a column for each group, as many as there is room for."""
    summary, steps = report.summary, steps_of(report)
    digits = words.few_digits_for(summary.total)
    total = Series(("total",), summary.total, tuple(each.total for each in steps))
    when, most = _when(summary, steps), max(2, width // LABEL_WIDTH)
    for columns in _layouts(dearest(summary, steps, most), total, digits):
        if fits([when, *columns], width):
            break
    title = f"Cost by {words.listed([WORDS[summary.step], *summary.by])}, USD"
    return fitted(title, [when, *columns], width, (), show_footer=True)


def _layouts(series: Sequence[Series], total: Series, digits: int) -> Iterator[list[Column]]:
    """The columns of a table from the widest to the narrowest, the last of which is the total."""
    while len(series) > 1:
        for heading in _HEADINGS:
            yield [_column(each, heading, digits) for each in (*series, total)]
        series = fewer(series)
    is_one = [each.groups for each in series] == [1]
    yield [_column(series[0] if is_one else total, LABEL_WIDTH, digits)]


def _column(series: Series, heading: int, digits: int) -> Column:
    cells = [words.cell(own, digits) for own in series.amounts]
    footer = words.cost(series.total, digits)
    widest = max(heading, numbers("", cells, footer).least)
    parts = (part for name in series.names for part in wrap(name, widest) or [name])
    lines = [line for part in parts for line in chop_cells(part, widest)]  # letters may be wide
    return numbers("\n".join(lines), cells, footer)


def _title(summary: Summary) -> str:
    """Of which time is said by the table below, if there is one."""
    title = f"Cost by {WORDS[summary.step]}"
    return title if summary.by else f"{title}, {words.title_of(summary)}"


def _when(summary: Summary, steps: Sequence[PeriodAmounts]) -> Column:
    names = words.step_names(summary.step, [each.start for each in steps])
    column = labels(words.step_heading(summary.step), names, "total")
    return replace(column, least=max(map(len, (*names, column.title))), options={"no_wrap": True})


def _costs(amounts: Sequence[Amounts], digits: int, total: Amounts) -> Column:
    cells = [words.cost(own, digits) for own in amounts]
    return numbers("cost\nUSD ", cells, words.cost(total, digits))
