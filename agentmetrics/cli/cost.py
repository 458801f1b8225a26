"""``agentmetrics cost``: what the ledger says, for people and for programs."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import typer
from rich.bar import Bar
from rich.table import Table

from agentmetrics.assembly import make_budgets
from agentmetrics.budget import summary as summaries
from agentmetrics.budget.budget import Budget, BudgetStatus, Spent
from agentmetrics.budget.database import Database, LedgerUnavailable
from agentmetrics.budget.periods import Period, Span, zone_of
from agentmetrics.budget.schema import KEY_COLUMNS
from agentmetrics.budget.spend import Spend
from agentmetrics.budget.summary import Summary
from agentmetrics.budget.tally import AMOUNTS, Amounts
from agentmetrics.cli.console import fail, note, output, tell, titled_table
from agentmetrics.settings import ConfigurationError, Settings, load_settings, variable_of

PERIODS: dict[str, Period] = {"day": "daily", "week": "weekly", "month": "monthly"}
BAR_WIDTH = 12
_WORDS = {period: word for word, period in PERIODS.items()}
_SAID_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Report:
    """A summary, and how the budgets stand now."""

    summary: Summary
    budgets: list[BudgetStatus]


def ask(period: str, by: str, since: str | None, until: str | None, url: str | None) -> Report:
    """The report; ends the program with one sentence where there can be none."""
    try:
        settings = load_settings(**({"ledger_url": url} if url else {}))
        question = summaries.ask(
            PERIODS[period],
            [name.strip() for name in by.split(",") if name.strip()],
            _moment("--since", since),
            _moment("--until", until),
            now=time.time(),
            zone=zone_of(settings.timezone),
        )
        database = _database(settings)
        database.check()
        with database.snapshot() as snapshot:
            summary = summaries.answer(question, snapshot)
        budgets = _budgets(settings, database)
    except ConfigurationError as error:
        fail(str(error))
    except LedgerUnavailable as error:
        fail(f"the ledger cannot be read: {error}")
    except ValueError as error:
        fail(str(error), code=2)
    for name in _unknown(summary):
        note(f"no call in this time has {name!r}")
    return Report(summary, budgets)


def _budgets(settings: Settings, database: Database) -> list[BudgetStatus]:
    """How the budgets of the settings' file stand, by what is written."""

    def follow(budget: Budget, span: Span) -> Spent:
        spend = Spend(budget.ledger_scope(), span.start, span.end, settle=lambda: None)
        spend.refresh(database.spent([spend])[0])
        return spend

    budgets = make_budgets(settings)
    for budget in budgets:
        budget.begin(follow, zone_of(settings.timezone))
    return [budget.status() for budget in budgets]


def _moment(option: str, said: str | None) -> datetime | None:
    if said is None:
        return None
    try:
        return datetime.fromisoformat(said.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f"{option} {said!r} is no date: write 2025-11-01 or 2025-11-01T18:00"
        ) from None


def _database(settings: Settings) -> Database:
    if not settings.ledger_url:
        fail(
            f"no ledger is set: give --url, or set {variable_of('ledger_url')}, to a database as "
            "'sqlite:///spend.db'",
            code=2,
        )
    return Database(settings.ledger_url.get_secret_value())


def _unknown(summary: Summary) -> Iterator[str]:
    for name in summary.by:
        said = any(group.labels[name] for group in summary.groups)
        if summary.groups and name not in KEY_COLUMNS and not said:
            yield name


def print_json(report: Report) -> None:
    """For programs."""
    found = {**report.summary.as_dict(), "budgets": [b.as_dict() for b in report.budgets]}
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


def print_csv(report: Report) -> None:
    """For spreadsheets: a line for every period and set of labels, costs in whole nano-dollars."""
    summary = report.summary
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(["start", "end", *summary.by, *AMOUNTS, "cost_usd"])
    for period in summary.periods:
        for labels, amounts in period.groups.items():
            sums = [getattr(amounts, name) for name in AMOUNTS]
            when = (period.start.isoformat(), period.end.isoformat())
            lines.writerow([*when, *labels, *sums, f"{amounts.cost_usd:f}"])


def print_table(report: Report) -> None:
    """For people."""
    _print_summary(report.summary)
    if report.budgets:
        tell("")
        output().print(_by_budget(report.budgets))


def _by_budget(budgets: list[BudgetStatus]) -> Table:
    table = titled_table("Budgets")
    for title in ("budget", "of", "period"):
        table.add_column(title, overflow="fold")
    _add_numbers(table, "limit\nUSD", "")
    _add_numbers(table, "spent\nUSD", "")
    table.add_column("spent", min_width=BAR_WIDTH)
    _add_numbers(table, "%", "")
    for status in budgets:
        scope = ", ".join(f"{name}={value}" for name, value in status.scope.items())
        spent, digits = status.spent_usd, 2 if status.limit_usd >= 100 else 6
        table.add_row(
            status.budget,
            scope or _SAID_NOTHING,
            status.period,
            f"{status.limit_usd:,.{digits}f}",
            f"{spent:,.{digits}f}",
            Bar(status.limit_usd or 1, 0, min(spent, status.limit_usd), width=BAR_WIDTH),
            f"{status.percent:,.0f}",
        )
    return table


def _print_summary(summary: Summary) -> None:
    if not summary.total.calls and not summary.previous_whole.calls:
        tell(f"No calls: {_span(summary.since, summary.until)}, {summary.timezone}.")
        return
    screen = output()
    if len(summary.periods) > 1:
        screen.print(_by_period(summary))
        screen.print()
    screen.print(_by_label(summary))
    for sentence in _sentences(summary):
        tell(sentence)


def _by_label(summary: Summary) -> Table:
    where = _span(summary.since, summary.until)
    table = titled_table(f"Cost of {where}, {summary.timezone}", show_footer=True)
    total, digits = summary.total, _digits(summary.total)
    for name in summary.by:
        footer = "total" if name == summary.by[0] else ""
        table.add_column(name.removesuffix("_name"), footer, overflow="fold")
    _add_numbers(table, "calls", f"{total.calls:,}")
    _add_numbers(table, "input\ntokens", _short(total.input_tokens))
    _add_numbers(table, "output\ntokens", _short(total.output_tokens))
    _add_numbers(table, "cost\nUSD ", _cost(total, digits))
    table.add_column("share", min_width=BAR_WIDTH)
    _add_numbers(table, "trend", _trend(summary.trend))
    for group in summary.groups:
        own = group.amounts
        table.add_row(
            *(value or _SAID_NOTHING for value in group.labels.values()),
            f"{own.calls:,}",
            _short(own.input_tokens),
            _short(own.output_tokens),
            _cost(own, digits),
            _bar(own, total),
            _trend(group.trend),
        )
    return table


def _by_period(summary: Summary) -> Table:
    word, digits = _WORDS[summary.period], _digits(summary.total)
    table = titled_table(f"Cost by {word}", show_footer=True)
    dearest = max((period.total for period in summary.periods), key=lambda a: a.cost_nano_usd)
    table.add_column(word, "total")
    _add_numbers(table, "calls", f"{summary.total.calls:,}")
    _add_numbers(table, "cost\nUSD ", _cost(summary.total, digits))
    table.add_column("", min_width=BAR_WIDTH)
    for period in summary.periods:
        own = period.total
        when = _span(period.start, period.end)
        table.add_row(when, f"{own.calls:,}", _cost(own, digits), _bar(own, dearest))
    return table


def _add_numbers(table: Table, title: str, total: str) -> None:
    table.add_column(title, total, justify="right", no_wrap=True)


def _sentences(summary: Summary) -> Iterator[str]:
    """What there is to say below the tables."""
    word, count = _WORDS[summary.period], len(summary.periods)
    before = f"The {word} before" if count == 1 else f"The {count} {word}s before"
    came_to, whole = summary.previous, summary.previous_whole
    digits = _digits(summary.total if summary.total.cost_nano_usd else whole)
    if not whole.calls:
        yield f"{before}: no calls."
    elif came_to == whole:
        yield f"{before}: USD {_usd(whole, digits)}."
    else:
        yield (
            f"{before}: USD {_usd(came_to, digits)} up to the same time, "
            f"USD {_usd(whole, digits)} in all."
        )
    if summary.projected_cost_nano_usd is not None:
        end = Amounts(cost_nano_usd=summary.projected_cost_nano_usd)
        yield f"At this pace the {word} ends at USD {_usd(end, digits)}."
    total = summary.total
    if total.unpriced_calls:
        yield f"In no sum (+): {_calls(total.unpriced_calls)} whose price nobody knows."
    if total.unmetered_calls:
        yield f"In no sum: {_calls(total.unmetered_calls)} whose tokens nobody told."


def _calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def _bar(part: Amounts, whole: Amounts) -> Bar:
    size = max(whole.cost_nano_usd, 1)
    return Bar(size, 0, part.cost_nano_usd, width=BAR_WIDTH, color="cyan")


def _digits(total: Amounts) -> int:
    """Decimal places for a table whose sum this is: enough for the small, few for the large."""
    if total.cost_usd >= 1000:
        return 2
    return 4 if total.cost_usd >= 1 else 6


def _usd(amounts: Amounts, digits: int) -> str:
    return f"{amounts.cost_usd:,.{digits}f}"


def _cost(amounts: Amounts, digits: int) -> str:
    """The cost, with a mark where there is more that nobody knows."""
    if amounts.unpriced_calls and not amounts.cost_nano_usd:
        return "unpriced"
    if amounts.calls and amounts.unmetered_calls == amounts.calls:
        return "unknown"
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
        return "> +999 %"
    return f"{trend:+.0%}".replace("%", " %")


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
