"""The report for people, in a terminal of any width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from agentmetrics.budget.budgets.budget import BudgetStatus
from agentmetrics.budget.ledger.summary import Summary
from agentmetrics.cli.columns import bars, fitted, labels, numbers
from agentmetrics.cli.console import output, tell
from agentmetrics.cli.cost import over_time, words
from agentmetrics.cli.cost.report import Report
from agentmetrics.cli.cost.words import NOTHING, SAID_NOTHING


def print_table(report: Report) -> None:
    """The summary in tables; where steps were asked for with labels, the first is of both."""
    summary, width = report.summary, output().width
    if report.has_steps and summary.by:
        _print(report, [over_time.crossed(report, width), _by_label(summary, width)])
    elif report.has_steps:
        _print(report, [over_time.by_step(summary, width)])
    elif len(summary.periods) > 1:
        _print(report, [over_time.by_step(summary, width), _by_label(summary, width)])
    else:
        _print(report, [_by_label(summary, width)])


def print_chart(report: Report) -> None:
    """A bar for each step of time, and what labels came to."""
    summary, width = report.summary, output().width
    tables = [over_time.chart(report, width)]
    _print(report, [*tables, _by_label(summary, width)] if summary.by else tables)


def _print(report: Report, tables: Sequence[Table]) -> None:
    summary, screen = report.summary, output()
    if summary.total == NOTHING:
        tell(f"No calls: {words.title_of(summary)}.")
    else:
        for number, table in enumerate(tables):
            if number:
                screen.print()
            screen.print(table)
    for sentence in words.sentences(summary):
        tell(sentence)
    if report.budgets:
        tell("")
        screen.print(_by_budget(report.budgets, screen.width))


def _by_budget(budgets: list[BudgetStatus], width: int) -> Table:
    limits, spent = zip(*map(words.limit_and_spent, budgets), strict=True)
    columns = [
        labels("budget", [status.budget for status in budgets]),
        labels("scope", list(map(words.scope, budgets))),
        labels("period", [status.period for status in budgets]),
        numbers("limit\nUSD", limits),
        numbers("spent\nUSD", spent),
        bars("spent", [min(status.percent, 100) for status in budgets], 100),
        numbers("%", [f"{status.percent:,.0f}" for status in budgets]),
    ]
    return fitted("Budgets now", columns, width, ("spent", "scope", "period", "%"))


def _by_label(summary: Summary, width: int) -> Table:
    total, digits = summary.total, words.digits_for(summary.total)
    groups = [group.amounts for group in summary.groups]
    columns = [
        labels(
            name.removesuffix("_name"),
            [group.labels[name] or SAID_NOTHING for group in summary.groups],
            "total" if name == summary.by[0] else "",
        )
        for name in summary.by
    ]
    columns += [
        numbers("calls", [f"{own.calls:,}" for own in groups], f"{total.calls:,}"),
        numbers(
            "input\ntokens",
            [words.short(own.input_tokens) for own in groups],
            words.short(total.input_tokens),
        ),
        numbers(
            "output\ntokens",
            [words.short(own.output_tokens) for own in groups],
            words.short(total.output_tokens),
        ),
        numbers(
            "cost\nUSD ", [words.cost(own, digits) for own in groups], words.cost(total, digits)
        ),
        bars("share", [own.cost_nano_usd for own in groups], total.cost_nano_usd),
        numbers(
            "trend",
            [words.trend(group.trend) for group in summary.groups],
            words.trend(summary.trend),
        ),
    ]
    expendable = ("share", "trend", "output\ntokens", "input\ntokens", "calls")
    title = f"Cost of {words.title_of(summary)}"
    return fitted(title, columns, width, expendable, show_footer=True)
