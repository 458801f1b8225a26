"""``agentmetrics cost``: what the ledger says, for people and for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import typer
from rich.table import Table

from agentmetrics.budget.budgets.budget import BudgetStatus
from agentmetrics.budget.ledger.summary import PeriodAmounts, Summary
from agentmetrics.budget.ledger.tally import AMOUNTS, Amounts
from agentmetrics.cli.columns import bars, fitted, labels, numbers
from agentmetrics.cli.console import output, tell, visible
from agentmetrics.cli.cost_report import PERIODS, Report

_WORDS = {period: word for word, period in PERIODS.items()}
_FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001
_BLANKS = ("\t", "\r", "\n")
_SAID_NOTHING = "\N{EN DASH}"


def print_json(report: Report) -> None:
    """For programs."""
    found = {**report.summary.as_dict(), "budgets": [b.as_dict() for b in report.budgets]}
    typer.echo(json.dumps(found, indent=2))


def print_csv(report: Report) -> None:
    """For spreadsheets: a line for every period and set of labels; a cost that is not known is an
    empty cell."""
    summary = report.summary
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(["start", "end", *summary.by, *AMOUNTS, "cost_usd"])
    for period in summary.periods:
        for values, amounts in period.groups.items():
            sums = amounts.as_dict()
            exact = f"{amounts.cost_usd:f}" if amounts.cost_is_known else None
            when = (period.start.isoformat(), period.end.isoformat())
            names = map(_as_text, values)
            lines.writerow([*when, *names, *(sums[name] for name in AMOUNTS), exact])


def _as_text(name: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula.

    Which ones do is OWASP's list ("CSV Injection"), those of full width too; so is the apostrophe,
    which makes text of what follows it. JSON has names as they are.
    """
    seen = visible(name)
    return f"'{seen}" if name.lstrip().startswith(_FORMULAS) or name[:1] in _BLANKS else seen


def print_table(report: Report) -> None:
    """For people."""
    _print_summary(report.summary)
    if report.budgets:
        tell("")
        screen = output()
        screen.print(_by_budget(report.budgets, screen.width))


def _by_budget(budgets: list[BudgetStatus], width: int) -> Table:
    digits = [2 if status.limit_usd >= 100 else 6 for status in budgets]
    scopes = (", ".join(f"{k}={v}" for k, v in status.scope.items()) for status in budgets)
    columns = [
        labels("budget", [status.budget for status in budgets]),
        labels("scope", [scope or _SAID_NOTHING for scope in scopes]),
        labels("period", [status.period for status in budgets]),
        numbers(
            "limit\nUSD", [f"{b.limit_usd:,.{n}f}" for b, n in zip(budgets, digits, strict=True)]
        ),
        numbers(
            "spent\nUSD", [f"{b.spent_usd:,.{n}f}" for b, n in zip(budgets, digits, strict=True)]
        ),
        bars("spent", [min(status.percent, 100) for status in budgets], 100),
        numbers("%", [f"{status.percent:,.0f}" for status in budgets]),
    ]
    return fitted("Budgets", columns, width, ("spent", "scope", "period", "%"))


def _print_summary(summary: Summary) -> None:
    if not summary.total.calls and not summary.previous_whole.calls:
        tell(f"No calls: {_span(summary.since, summary.until)}, {summary.timezone}.")
        return
    screen = output()
    if len(summary.periods) > 1:
        screen.print(_by_period(summary, screen.width))
        screen.print()
    screen.print(_by_label(summary, screen.width))
    for sentence in _sentences(summary):
        tell(sentence)


def _by_label(summary: Summary, width: int) -> Table:
    where = _span(summary.since, summary.until)
    total, digits = summary.total, _digits(summary.total)
    groups = [group.amounts for group in summary.groups]
    columns = [
        labels(
            name.removesuffix("_name"),
            [group.labels[name] or _SAID_NOTHING for group in summary.groups],
            "total" if name == summary.by[0] else "",
        )
        for name in summary.by
    ]
    columns += [
        numbers("calls", [f"{own.calls:,}" for own in groups], f"{total.calls:,}"),
        numbers(
            "input\ntokens",
            [_short(own.input_tokens) for own in groups],
            _short(total.input_tokens),
        ),
        numbers(
            "output\ntokens",
            [_short(own.output_tokens) for own in groups],
            _short(total.output_tokens),
        ),
        numbers("cost\nUSD ", [_cost(own, digits) for own in groups], _cost(total, digits)),
        bars("share", [own.cost_nano_usd for own in groups], total.cost_nano_usd),
        numbers("trend", [_trend(group.trend) for group in summary.groups], _trend(summary.trend)),
    ]
    expendable = ("share", "trend", "output\ntokens", "input\ntokens", "calls")
    title = f"Cost of {where}, {summary.timezone}"
    return fitted(title, columns, width, expendable, show_footer=True)


def _by_period(summary: Summary, width: int) -> Table:
    word, digits, total = _WORDS[summary.period], _digits(summary.total), summary.total
    periods = list(_shown_periods(summary.periods))
    sums = [period.total for period in periods]
    costs = [own.cost_nano_usd for own in sums]
    columns = [
        labels(word, [_span(period.start, period.end) for period in periods], "total"),
        numbers("calls", [f"{own.calls:,}" for own in sums], f"{total.calls:,}"),
        numbers("cost\nUSD ", [_cost(own, digits) for own in sums], _cost(total, digits)),
        bars("", costs, max(costs)),
    ]
    return fitted(f"Cost by {word}", columns, width, ("", "calls"), show_footer=True)


def _shown_periods(periods: Sequence[PeriodAmounts]) -> Iterator[PeriodAmounts]:
    """The empty ones at the beginning as one: whoever wants all calls asks for many years."""
    first = next((i for i, period in enumerate(periods) if period.total.calls), len(periods))
    if first:
        yield replace(periods[0], end=periods[first - 1].end)
    yield from periods[first:]


def _sentences(summary: Summary) -> Iterator[str]:
    """What there is to say below the tables."""
    word, count = _WORDS[summary.period], len(summary.periods)
    before = f"Previous {word}" if count == 1 else f"Previous {count} {word}s"
    came_to, whole = summary.previous, summary.previous_whole
    digits = _digits(summary.total if summary.total.cost_nano_usd else whole)
    if not whole.calls:
        yield f"{before}: no calls."
    elif came_to == whole:
        yield f"{before}: {_spent(whole, digits)}."
    else:
        yield (
            f"{before}: {_spent(came_to, digits)} by the same time, {_spent(whole, digits)} "
            "in total."
        )
    if summary.projected_cost_nano_usd is not None:
        end = Amounts(cost_nano_usd=summary.projected_cost_nano_usd)
        yield f"At this rate, the {word} will end at USD {_usd(end, digits)}."
    total = summary.total
    if total.unpriced_calls:
        yield f"Excluded from totals (+): {_calls(total.unpriced_calls)} with an unknown price."
    if total.unmetered_calls:
        yield f"Excluded from totals: {_calls(total.unmetered_calls)} with unknown token counts."


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _digits(total: Amounts) -> int:
    """Decimal places for a table whose sum this is: enough for the small, few for the large."""
    if total.cost_usd >= 1000:
        return 2
    return 4 if total.cost_usd >= 1 else 6


def _usd(amounts: Amounts, digits: int) -> str:
    return f"{amounts.cost_usd:,.{digits}f}"


def _spent(amounts: Amounts, digits: int) -> str:
    """The cost in a sentence."""
    return f"USD {_usd(amounts, digits)}" if amounts.cost_is_known else "an unknown cost"


def _cost(amounts: Amounts, digits: int) -> str:
    """The cost, with a mark where part of it is unknown."""
    if not amounts.cost_is_known:
        return "unpriced" if amounts.unpriced_calls else "unknown"
    return _usd(amounts, digits) + ("+" if amounts.unpriced_calls else " ")


def _short(count: int) -> str:
    """A count in at most six characters; CSV and JSON have all digits."""
    for unit, size in (("G", 10**9), ("M", 10**6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,}"


def _trend(trend: float | None) -> str:
    if trend is None:
        return _SAID_NOTHING
    if trend > 9.99:
        return "> +999%"
    return f"{trend:+.0%}"


def _span(start: datetime, end: datetime) -> str:
    """A day, days, or days with their times where they are not whole."""
    last = end - timedelta(seconds=1)
    if not _is_midnight(start) or not _is_midnight(end):
        return f"{_day(start)} {start:%H:%M} to {_day(end)} {end:%H:%M}"
    if start.date() == last.date():
        return _day(start)
    if start.day == end.day == 1 and start.month == last.month and start.year == last.year:
        return f"{start:%B %Y}"
    return f"{_day(start)} to {_day(last)}"


def _is_midnight(moment: datetime) -> bool:
    return (moment.hour, moment.minute) == (0, 0)


def _day(moment: datetime) -> str:
    return f"{moment:%a} {moment.day} {moment:%b %Y}"
