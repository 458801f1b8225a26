"""What ``agentmetrics cost`` is asked, and the ledger's answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from difflib import get_close_matches

from agentmetrics.budget.budgets.budget import Budget, BudgetStatus
from agentmetrics.budget.budgets.state import BudgetState, Spent
from agentmetrics.budget.ledger import question as questions
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.leftovers import Leftovers, taken_up
from agentmetrics.budget.ledger.place import spool_place
from agentmetrics.budget.ledger.question import LABEL_COLUMNS, Question
from agentmetrics.budget.ledger.snapshot import Snapshot
from agentmetrics.budget.ledger.spend import Spend
from agentmetrics.budget.ledger.summary import Summary, answer
from agentmetrics.budget.periods import Period, Span, earlier, period_at, zone_of
from agentmetrics.cli.console import fail, note
from agentmetrics.cli.cost.moments import moment
from agentmetrics.config.assembly import make_budgets
from agentmetrics.config.loading import load_settings, variable_of
from agentmetrics.config.settings import Settings
from agentmetrics.errors import ConfigurationError, LedgerUnavailable
from agentmetrics.recording.log_once import LogOnce

PERIODS: dict[str, Period] = {"day": "daily", "week": "weekly", "month": "monthly"}
LOOK_BACK: dict[Period, int] = {"daily": 14, "weekly": 12, "monthly": 12}
"""How many are shown side by side where no time range is given: two weeks, a quarter, a year."""
MOST_DRAWN = 93
"""Bars of a chart whose steps nobody has chosen: of more than a quarter's days it shows weeks."""
_MOST_NAMED = 12


@dataclass(frozen=True)
class Request:
    """The options of the command, as they were typed."""

    by: Sequence[str] = ("agent",)
    period: str | None = None
    month: int | None = None
    """How many months ago the one is that is asked for: 0 for this one."""
    since: str | None = None
    until: str | None = None
    agents: Sequence[str] = ()
    models: Sequence[str] = ()
    url: str | None = None
    is_drawn: bool = False
    """Whether steps of time are to be seen, also where none is named."""


@dataclass(frozen=True)
class Report:
    """A summary, the current status of the budgets, and when this was (Unix seconds).

    ``has_steps`` tells whether it was asked what each step of time came to.
    """

    summary: Summary
    budgets: list[BudgetStatus]
    now: float
    has_steps: bool = False


def ask(request: Request) -> Report:
    """The report; ends the program with one sentence where there can be none."""
    now = time.time()
    try:
        settings = load_settings(**({"ledger_url": request.url} if request.url else {}))
        question = _question(request, now, zone_of(settings.timezone))
        has_steps = _step_of(_names(request)) is not None
        database = _database(settings)
        database.check()
        _take_up(settings, database)
        with database.snapshot() as snapshot:
            _check_names(question, snapshot)
            if request.is_drawn and not has_steps:
                question = _drawn(question, snapshot.began())
            summary = answer(question, snapshot)
        # They count other calls, too: beside a part of the calls they would be misread.
        budgets = [] if question.only else _budgets(settings, database, now)
    except ConfigurationError as error:
        fail(str(error))
    except LedgerUnavailable as error:
        fail(f"the ledger cannot be read: {error}")
    except ValueError as error:
        fail(str(error), code=2)
    for name in _unknown(summary):
        note(f"no call in this time range has the label {name!r}")
    return Report(summary, budgets, now, has_steps)


def _question(request: Request, now: float, zone: tzinfo) -> Question:
    names = _names(request)
    step = _step_of(names)
    period = PERIODS[request.period] if request.period else step or "daily"
    since = None if request.since is None else moment("--since", request.since, now, zone)
    until = None if request.until is None else moment("--until", request.until, now, zone)
    if request.month is not None:
        period = "monthly"
        since = _begun_before(period, request.month, now, zone)
        until = _begun_before(period, request.month - 1, now, zone)
    elif not (request.period or since or until) and (step or request.is_drawn):
        since = _begun_before(period, LOOK_BACK[period] - 1, now, zone)
    return questions.ask(
        period,
        [name for name in names if name not in PERIODS],
        since,
        until,
        step=step,
        only={name: values for name, values in _only(request) if values},
        now=now,
        zone=zone,
    )


def _drawn(question: Question, began: int | None) -> Question:
    """In days, unless those with anything in them are too many, or weeks, unless they are."""
    first, end = question.spans[0].start, question.spans[-1].end
    days = (min(end, question.now) - max(first, began or first)) / 86_400
    if days < MOST_DRAWN + 1:
        return question.by_step("daily")
    return question.by_step("weekly" if days / 7 < MOST_DRAWN + 1 else "monthly")


def _names(request: Request) -> list[str]:
    return [name.strip() for said in request.by for name in said.split(",") if name.strip()]


def _step_of(names: Sequence[str]) -> Period | None:
    steps = [PERIODS[name] for name in names if name in PERIODS]
    if len(steps) > 1:
        raise ValueError("use one of day, week and month in --by")
    return steps[0] if steps else None


def _begun_before(period: Period, count: int, now: float, zone: tzinfo) -> datetime:
    """The beginning of the day, week or month that was so many ago."""
    first = earlier(period, period_at(period, int(now), zone).start, count, zone)
    return datetime.fromtimestamp(first, zone)


def _only(request: Request) -> Iterator[tuple[str, Sequence[str]]]:
    yield "agent", request.agents
    yield "model", request.models


def _check_names(question: Question, snapshot: Snapshot) -> None:
    """Raise ``ValueError`` for a name that no call of any time has, with those that it may mean."""
    for label, names in question.only.items():
        for name in names:
            if not snapshot.has(label, name):
                kind = label.removesuffix("_name")
                known = _meant(name, snapshot.names(label), kind)
                raise ValueError(f"the ledger has no {kind} {name!r}{known}")


def _meant(name: str, known: set[str], kind: str) -> str:
    by_lower = {each.lower(): each for each in sorted(known)}
    close = [by_lower[each] for each in get_close_matches(name.lower(), by_lower, n=3)]
    close = close or sorted(each for each in known if name.lower() in each.lower())[:3]
    if close:
        return f": did you mean {' or '.join(map(repr, close))}?"
    if not known:
        return ": it has no calls yet"
    if len(known) <= _MOST_NAMED:
        return f"; it has {', '.join(map(repr, sorted(known)))}"
    return f"; `agentmetrics cost --since 1970-01-01 --by {kind}` shows all {len(known):,}"


def _take_up(settings: Settings, database: Database) -> None:
    """Let the report have what processes that died did not write; tell of it, and of what is lost.

    Who may only read the ledger gets a report without it.
    """
    place = spool_place(database.url, settings.spool_dir)
    if place is None:
        return

    def lose(reason: str, calls: int) -> None:
        if calls:
            note(f"{calls} calls of processes that died are lost: {reason}")

    try:
        found = Leftovers(place.directory, LogOnce()).take_up(database, lose)
    except LedgerUnavailable as error:
        note(f"what processes that died left in {place.directory} is not in the report: {error}")
    else:
        place.tidy()
        if found:
            note(f"the ledger has taken up {taken_up(found)}")


def _budgets(settings: Settings, database: Database, now: float) -> list[BudgetStatus]:
    """How the budgets of the settings' file stand, by what is written."""

    def follow(budget: Budget, span: Span) -> Spent:
        spend = Spend(budget.calls(), span.start, span.end, fold=lambda: None)
        spend.refresh(database.spent([spend])[0])
        return spend

    zone = zone_of(settings.timezone)
    return [BudgetState(budget, follow, zone).status(now) for budget in make_budgets(settings)]


def _database(settings: Settings) -> Database:
    if not settings.ledger_url:
        fail(
            f"no ledger is configured: set --url or {variable_of('ledger_url')} to a database "
            "URL such as 'sqlite:///spend.db'",
            code=2,
        )
    return Database(settings.ledger_url.get_secret_value())


def _unknown(summary: Summary) -> Iterator[str]:
    for name in summary.by:
        said = any(group.labels[name] for group in summary.groups)
        if summary.groups and name not in LABEL_COLUMNS and not said:
            yield name
