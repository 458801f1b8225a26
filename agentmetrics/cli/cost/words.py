"""Amounts, times and trends as every report of a summary says them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from agentmetrics.budget.budgets.budget import BudgetStatus
from agentmetrics.budget.ledger.summary import Summary
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.budget.periods import Period, period_at
from agentmetrics.cli.cost.report import PERIODS
from agentmetrics.summary.amounts import digits_for as digits_of
from agentmetrics.summary.amounts import written

WORDS: dict[Period, str] = {period: word for word, period in PERIODS.items()}
SAID_NOTHING = "\N{EN DASH}"
NOTHING = Amounts()
_UNITS = (("T", 10**12), ("G", 10**9), ("M", 10**6))


def title_of(summary: Summary) -> str:
    """What a report is of: its time, and the names that it is limited to."""
    said = [f"{span(summary.since, summary.until)}, {summary.timezone}"]
    for label, values in summary.only.items():
        said.append(f"{label.removesuffix('_name')} {' or '.join(values)}")
    return ", ".join(said)


def listed(labels: Sequence[str]) -> str:
    """Labels in a title: ``day, agent and model``."""
    *first, last = [name.removesuffix("_name") for name in labels]
    return f"{', '.join(first)} and {last}" if first else last


def sentences(summary: Summary) -> Iterator[str]:
    """What there is to say below the tables, or in their place where there is nothing."""
    if summary.total != NOTHING or summary.previous_whole != NOTHING:
        yield comparison(summary)
    if summary.total == NOTHING:
        return
    if summary.projected_cost_nano_usd is not None:
        end = Amounts(cost_nano_usd=summary.projected_cost_nano_usd)
        word = WORDS[summary.period]
        yield f"At this rate, the {word} will end at USD {usd(end, _digits_of_both(summary))}."
    total = summary.total
    if total.unpriced_calls:
        yield f"Excluded from totals (+): {calls(total.unpriced_calls)} with an unknown price."
    if total.unmetered_calls:
        whose = calls(total.unmetered_calls)
        yield f"Excluded from totals: the unknown tokens of {whose}, and their cost."


def comparison(summary: Summary) -> str:
    """What was spent before, or why that says nothing."""
    word, count = WORDS[summary.period], summary.count
    before = f"Previous {word}" if count == 1 else f"Previous {count:,} {word}s"
    came_to, whole, digits = summary.previous, summary.previous_whole, _digits_of_both(summary)
    if summary.ledger_is_younger and summary.ledger_since:
        began = _day(summary.ledger_since)
        if whole == NOTHING:
            return f"{before}: no trend, since the ledger begins on {began}."
        return f"{before}: {_spent(whole, digits)}, no trend: the ledger begins on {began}."
    if whole == NOTHING:
        return f"{before}: no calls."
    if came_to == whole:
        return f"{before}: {_spent(whole, digits)}."
    return (
        f"{before}: {_spent(came_to, digits)} by the same time, {_spent(whole, digits)} in total."
    )


def _digits_of_both(summary: Summary) -> int:
    total = summary.total
    return digits_for(total if total.cost_nano_usd else summary.previous_whole)


def calls(count: int) -> str:
    return f"{count:,} call{'' if count == 1 else 's'}"


def digits_for(total: Amounts) -> int:
    """Decimal places for a table whose sum this is."""
    return digits_of(total.cost_usd)


def few_digits_for(total: Amounts) -> int:
    """Decimal places where there are many costs beside each other: cents, if they make a sum."""
    return 2 if total.cost_usd >= 10 else digits_for(total)


def cell(amounts: Amounts, digits: int) -> str:
    """The cost of one of many, of which some have no calls."""
    return f"{SAID_NOTHING} " if amounts == NOTHING else cost(amounts, digits)


def usd(amounts: Amounts, digits: int) -> str:
    """The cost as a number."""
    return written(amounts.cost_usd, digits)


def _spent(amounts: Amounts, digits: int) -> str:
    """The cost in a sentence."""
    return f"USD {usd(amounts, digits)}" if amounts.cost_is_known else "an unknown cost"


def cost(amounts: Amounts, digits: int) -> str:
    """The cost, with a mark where part of it is unknown."""
    if not amounts.cost_is_known:
        return "unpriced" if amounts.unpriced_calls else "unknown"
    return usd(amounts, digits) + ("+" if amounts.unpriced_calls else " ")


def scope(status: BudgetStatus) -> str:
    """Which calls a budget is of."""
    return ", ".join(f"{name}={value}" for name, value in status.scope.items()) or SAID_NOTHING


def limit_and_spent(status: BudgetStatus) -> tuple[str, str]:
    digits = 2 if status.limit_usd >= 100 else 6
    return f"{status.limit_usd:,.{digits}f}", f"{status.spent_usd:,.{digits}f}"


def short(count: int) -> str:
    """A count in a few characters; CSV and JSON have all digits."""
    for unit, size in _UNITS:
        if count >= size * 0.99995:  # which is rounded up to it
            return f"{count / size:,.1f} {unit}"
    return f"{count:,}"


def mark(value: float) -> str:
    """A round number beside a chart, where there is room for some eight characters."""
    for unit, size in _UNITS:
        if value >= size:
            return f"{value / size:g} {unit}"
    shown = f"{value:.6g}"
    return shown if 0 < value < 1e-5 else f"{Decimal(shown):,f}"


def percent(change: float | None) -> int:
    """What is shown of a trend; of one that is not known nothing."""
    return 0 if change is None else round(100 * change)


def trend(change: float | None) -> str:
    """How much more or less than before."""
    if change is None:
        return SAID_NOTHING
    shown = percent(change)
    if shown > 999:
        return "> +999%"
    return f"{shown:+d}%" if shown else "0%"


def span(start: datetime, end: datetime) -> str:
    """A day, days, or days with their times where they are not whole."""
    last = datetime.fromtimestamp(end.timestamp() - 1, end.tzinfo)
    if not _begins_a_day(start) or not _begins_a_day(end):
        return f"{_day(start)} {start:%H:%M} to {_day(end)} {end:%H:%M}"
    if start.date() == last.date():
        return _day(start)
    if start.day == end.day == 1 and start.month == last.month and start.year == last.year:
        return f"{start:%B %Y}"
    return f"{_day(start)} to {_day(last)}"


def step_heading(step: Period) -> str:
    """What the steps of a table are called."""
    return "week of" if step == "weekly" else WORDS[step]


def step_names(step: Period, starts: Sequence[datetime]) -> list[str]:
    """Steps, whose ends, and years if not of several, are to be seen from each other."""
    if step == "monthly":
        return [f"{start:%b %Y}" for start in starts]
    return [start.strftime(f"%a {start.day:2} %b{_year(starts)}") for start in starts]


def step_marks(step: Period, starts: Sequence[datetime]) -> list[str]:
    """Steps below a chart, in as few letters as can be."""
    if step == "monthly":
        return [f"{start:%b %Y}" for start in starts]
    return [start.strftime(f"{start.day} %b{_year(starts)}") for start in starts]


def _year(starts: Sequence[datetime]) -> str:
    """The format of the year, where two would have the same name without."""
    return " %Y" if starts and (starts[-1] - starts[0]).days >= 365 else ""


def _begins_a_day(moment: datetime) -> bool:
    """Whether it is midnight, or one o'clock where that is what the clock begins the day with."""
    seconds, zone = int(moment.timestamp()), moment.tzinfo
    return zone is not None and period_at("daily", seconds, zone).start == seconds


def _day(moment: datetime) -> str:
    return f"{moment:%a} {moment.day} {moment:%b %Y}"
