"""A summary step by step: what each day, week or month came to, by the most expensive groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentmetrics.budget.ledger.question import Labels
from agentmetrics.budget.ledger.summary import PeriodAmounts, Summary
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.cli.cost.report import MOST_DRAWN, Report
from agentmetrics.cli.cost.words import SAID_NOTHING


@dataclass(frozen=True)
class Series:
    """What a group of calls came to in each step, and in all; or several groups together.

    ``names`` are the values of its labels.
    """

    names: Labels
    total: Amounts
    amounts: tuple[Amounts, ...]
    groups: int = 1

    @property
    def name(self) -> str:
        """Its names in one line."""
        return " / ".join(self.names)

    def with_another(self, other: Series) -> Series:
        """Both together, no longer by name."""
        count = self.groups + other.groups
        sums = (a + b for a, b in zip(self.amounts, other.amounts, strict=True))
        return Series((f"{count:,} others",), self.total + other.total, tuple(sums), count)


def steps_of(report: Report) -> tuple[PeriodAmounts, ...]:
    """The steps that there can be something in: none before the ledger began or yet to come."""
    if report.summary.ledger_since is None:
        return ()
    began, now = report.summary.ledger_since.timestamp(), report.now
    return tuple(
        each
        for each in report.summary.periods
        if each.start.timestamp() <= now and each.end.timestamp() > began
    )


def is_dense(steps: Sequence[PeriodAmounts]) -> bool:
    """Whether a chart of so many has no room for anything between its bars."""
    return len(steps) > MOST_DRAWN


def dearest(summary: Summary, steps: Sequence[PeriodAmounts], most: int) -> list[Series]:
    """At most so many series: groups by name, the most expensive first, and where there are more
    of them, the others together as the last."""
    groups = [tuple(group.labels.values()) for group in summary.groups]
    is_all = len(groups) <= most
    named = groups if is_all else groups[: most - 1]
    found = [_series(steps, labels) for labels in named]
    return found if is_all else [*found, _rest(steps, set(named), len(groups) - len(named))]


def fewer(series: Sequence[Series]) -> list[Series]:
    """One less: the last two are one."""
    *first, one, other = series
    return [*first, one.with_another(other)]


def _series(steps: Sequence[PeriodAmounts], labels: Labels) -> Series:
    sums = tuple(each.groups.get(labels, Amounts()) for each in steps)
    return Series(names_of(labels), sum(sums, Amounts()), sums)


def _rest(steps: Sequence[PeriodAmounts], named: set[Labels], count: int) -> Series:
    sums = tuple(
        sum((own for labels, own in each.groups.items() if labels not in named), Amounts())
        for each in steps
    )
    return Series((f"{count:,} others",), sum(sums, Amounts()), sums, count)


def names_of(labels: Labels) -> Labels:
    """What a group is called; one without labels is all calls."""
    return tuple(label or SAID_NOTHING for label in labels) or ("all calls",)
