"""What ``agentmetrics cost`` is asked, and the ledger's answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from agentmetrics.budget.budgets.budget import Budget, BudgetStatus
from agentmetrics.budget.budgets.state import BudgetState, Spent
from agentmetrics.budget.ledger import summary as summaries
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.leftovers import Leftovers, taken_up
from agentmetrics.budget.ledger.place import spool_place
from agentmetrics.budget.ledger.spend import Spend
from agentmetrics.budget.ledger.summary import LABEL_COLUMNS, Summary
from agentmetrics.budget.periods import Period, Span, zone_of
from agentmetrics.cli.console import fail, note
from agentmetrics.config.assembly import make_budgets
from agentmetrics.config.loading import load_settings, variable_of
from agentmetrics.config.settings import Settings
from agentmetrics.errors import ConfigurationError, LedgerUnavailable
from agentmetrics.recording.log_once import LogOnce

PERIODS: dict[str, Period] = {"day": "daily", "week": "weekly", "month": "monthly"}


@dataclass(frozen=True)
class Report:
    """A summary, and the current status of the budgets."""

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
        _take_up(settings, database)
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
        note(f"no call in this time range has the label {name!r}")
    return Report(summary, budgets)


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


def _budgets(settings: Settings, database: Database) -> list[BudgetStatus]:
    """How the budgets of the settings' file stand, by what is written."""

    def follow(budget: Budget, span: Span) -> Spent:
        spend = Spend(budget.calls(), span.start, span.end, fold=lambda: None)
        spend.refresh(database.spent([spend])[0])
        return spend

    zone, now = zone_of(settings.timezone), time.time()
    return [BudgetState(budget, follow, zone).status(now) for budget in make_budgets(settings)]


def _moment(option: str, said: str | None) -> datetime | None:
    if said is None:
        return None
    try:
        return datetime.fromisoformat(said.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f"{option} {said!r} is not a date: use 2025-11-01 or 2025-11-01T18:00"
        ) from None


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
