"""What a ledger is asked: which calls, of what time, and by which labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from agentmetrics.budget.ledger.tally import Key
from agentmetrics.budget.periods import (
    Period,
    Span,
    check_period,
    earlier,
    period_at,
    periods_of,
    unix_seconds,
    wall_clock,
    whole_buckets,
)
from agentmetrics.recording.metric import clean_label

LABEL_COLUMNS = tuple(name for name in Key._fields if name not in ("bucket", "dimensions"))
"""The columns that are labels by themselves; every other label is one of the dimensions."""
SHORTHANDS = {"agent": "agent_name"}

Labels = tuple[str, ...]
Only = Mapping[str, Labels]
"""For each label the values that are asked for; a call has to have one of each."""


@dataclass(frozen=True, slots=True)
class Question:
    """What ``Ledger.summary`` is asked, as it was understood; made by ``ask``.

    ``spans`` are the steps that are summed up one by one. The time that they cover touches
    ``count`` periods, of which ``last`` is the last; ``before`` is as many periods earlier.
    """

    period: Period
    step: Period
    by: Labels
    only: Only
    spans: tuple[Span, ...]
    last: Span
    count: int
    before: Span
    now: int
    zone: tzinfo

    def by_step(self, step: Period) -> Question:
        """The same question in other steps."""
        span = Span(self.spans[0].start, self.spans[-1].end)
        return replace(self, step=step, spans=tuple(periods_of(step, span, self.zone)))


def ask(
    period: Period,
    by: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    *,
    step: Period | None = None,
    only: Mapping[str, str | Sequence[str]] | None = None,
    now: float,
    zone: tzinfo,
) -> Question:
    """A question, by default about the period that goes on, else from ``since`` until ``until``.

    Raises ``ValueError`` for a period or a span that is none or that no calendar has, for a label
    named twice, and for one of which the ledger cannot take some values ``only``.
    """
    step = step or period
    check_period(period)
    check_period(step)
    names = tuple(SHORTHANDS.get(name, name) for name in ([by] if isinstance(by, str) else by))
    if len(set(names)) != len(names):
        raise ValueError(f"a label is given twice: {', '.join(names)}")
    try:
        end = period_at(period, int(now), zone).end if until is None else unix_seconds(until, zone)
        start = unix_seconds(since, zone) if since else period_at(period, end - 1, zone).start
        span = whole_buckets(Span(start, end))
        periods = tuple(periods_of(period, span, zone))
        before = Span(*(earlier(period, at, len(periods), zone) for at in span))
    except (OverflowError, ValueError):
        raise ValueError(
            "the time range, or the one of equal length before it, is outside the years 1 to 9999"
        ) from None
    if start >= end:
        first, last = (f"{wall_clock(at, zone):%Y-%m-%d %H:%M}" for at in (start, end))
        raise ValueError(
            f"the time range must end after it begins: it is from {first} until {last}"
        )
    return Question(
        period=period,
        step=step,
        by=names,
        only=_understood(only or {}),
        spans=periods if step == period else tuple(periods_of(step, span, zone)),
        last=periods[-1],
        count=len(periods),
        before=before,
        now=int(now),
        zone=zone,
    )


def _understood(only: Mapping[str, str | Sequence[str]]) -> Only:
    found: dict[str, Labels] = {}
    for said, values in only.items():
        name = SHORTHANDS.get(said, said)
        if name not in LABEL_COLUMNS:
            raise ValueError(
                f"{said!r} is not a label that calls can be selected by; use one of "
                f"{', '.join(LABEL_COLUMNS)}"
            )
        listed = [values] if isinstance(values, str) else values
        # As they were when they were recorded: a long name was cut, a control character replaced.
        cleaned = tuple(dict.fromkeys(clean_label(value) for value in listed))
        if not cleaned or "" in cleaned:
            raise ValueError(f"{said}: a value to select by must have at least one character")
        found[name] = (*found.get(name, ()), *cleaned)
    return found
