"""What was spent, on what, more or less than before, and where it will end."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from agentmetrics.budget.ledger.snapshot import Snapshot
from agentmetrics.budget.ledger.tally import Amounts, Key
from agentmetrics.budget.periods import (
    PACE_SHARE,
    Period,
    Span,
    check_period,
    earlier,
    period_at,
    periods_of,
    unix_seconds,
    whole_buckets,
)

LABEL_COLUMNS = tuple(name for name in Key._fields if name not in ("bucket", "dimensions"))
"""The columns that are labels by themselves; every other label is one of the dimensions."""
SHORTHANDS = {"agent": "agent_name"}

Labels = tuple[str, ...]
_NOTHING = Amounts()


@dataclass(frozen=True, slots=True)
class Group:
    """The calls with these labels; ``previous`` is what they came to one period before."""

    labels: Mapping[str, str]
    amounts: Amounts
    previous: Amounts

    @property
    def trend(self) -> float | None:
        """See ``Summary.trend``."""
        return _trend(self.amounts, self.previous)

    def as_dict(self) -> dict[str, Any]:
        return {
            "labels": dict(self.labels),
            **self.amounts.as_dict(),
            "previous": self.previous.as_dict(),
            "trend": self.trend,
        }


@dataclass(frozen=True, slots=True)
class PeriodAmounts:
    """One day, week or month, or what of it was asked for; ``groups`` by their labels' values,
    in their order."""

    start: datetime
    end: datetime
    total: Amounts
    groups: Mapping[Labels, Amounts]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the calls from ``since`` until ``until`` cost.

    ``groups`` are by the labels in ``by``, most expensive first, and ``periods`` are in order.
    ``previous`` is the total for the same stretch of time the same number of periods earlier, up to
    the same wall-clock time (to the quarter of an hour) if the last period is still in progress;
    ``previous_whole`` is the total for all of it. ``projected_cost_nano_usd`` is the projected cost
    of the current period at its end, at the rate so far; ``None`` unless the last period is the
    current one and whole, enough of it has passed for a rate, and its cost is known.
    """

    period: Period
    timezone: str
    by: tuple[str, ...]
    since: datetime
    until: datetime
    total: Amounts
    groups: tuple[Group, ...]
    periods: tuple[PeriodAmounts, ...]
    previous: Amounts
    previous_whole: Amounts
    projected_cost_nano_usd: int | None

    @property
    def trend(self) -> float | None:
        """The cost relative to that of the previous period: 0.5 is half more, -0.5 half less.

        ``None`` when there was none then, or the cost now is not known.
        """
        return _trend(self.total, self.previous)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        projected = self.projected_cost_nano_usd
        return {
            "period": self.period,
            "timezone": self.timezone,
            "by": list(self.by),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "total": self.total.as_dict(),
            "previous": self.previous.as_dict(),
            "previous_whole": self.previous_whole.as_dict(),
            "trend": self.trend,
            "projected_cost_nano_usd": projected,
            "projected_cost_usd": None if projected is None else Amounts(
                cost_nano_usd=projected
            ).as_dict()["cost_usd"],
            "groups": [group.as_dict() for group in self.groups],
            "periods": [
                {
                    "start": period.start.isoformat(),
                    "end": period.end.isoformat(),
                    **period.total.as_dict(),
                    "groups": [
                        {"labels": dict(zip(self.by, values, strict=True)), **amounts.as_dict()}
                        for values, amounts in period.groups.items()
                    ],
                }
                for period in self.periods
            ],
        }  # fmt: skip


def _trend(now: Amounts, before: Amounts) -> float | None:
    if not before.cost_nano_usd or not now.cost_is_known:
        return None
    return (now.cost_nano_usd - before.cost_nano_usd) / before.cost_nano_usd


@dataclass(frozen=True, slots=True)
class Question:
    """What ``Ledger.summary`` is asked, as it was understood; made by ``ask``."""

    period: Period
    by: tuple[str, ...]
    spans: tuple[Span, ...]
    before: Span
    now: int
    zone: tzinfo


def ask(
    period: Period,
    by: Sequence[str],
    since: datetime | None,
    until: datetime | None,
    *,
    now: float,
    zone: tzinfo,
) -> Question:
    """A question, by default about the period that goes on, else from ``since`` until ``until``.

    Raises ``ValueError`` for a period or a span that is none or that no calendar has, and for a
    label named twice.
    """
    check_period(period)
    names = tuple(SHORTHANDS.get(name, name) for name in ([by] if isinstance(by, str) else by))
    if len(set(names)) != len(names):
        raise ValueError(f"a label is given twice: {', '.join(names)}")
    try:
        end = period_at(period, int(now), zone).end if until is None else unix_seconds(until, zone)
        start = unix_seconds(since, zone) if since else period_at(period, end - 1, zone).start
        span = whole_buckets(Span(start, end))
        spans = tuple(periods_of(period, span, zone))
        before = Span(*(earlier(period, at, len(spans), zone) for at in span))
    except (OverflowError, ValueError):
        raise ValueError(
            "the time range, or the one of equal length before it, is outside the years 1 to 9999"
        ) from None
    if start >= end:
        raise ValueError("the time range ends before it begins")
    return Question(period, names, spans, before, int(now), zone)


def answer(question: Question, snapshot: Snapshot) -> Summary:
    """The summary, all of it from one moment of the ledger."""
    period, by, spans, now, zone = (
        question.period, question.by, question.spans, question.now, question.zone
    )  # fmt: skip
    since, until = spans[0].start, spans[-1].end
    sums = list(_by_span(snapshot, spans, by))
    groups = _added(sums)
    previous = previous_whole = _by_labels(snapshot, whole_buckets(question.before), by)
    if since < now < until:
        same_time = Span(question.before.start, earlier(period, now, len(spans), zone))
        previous = _by_labels(snapshot, whole_buckets(same_time), by)
    goes_on = spans[-1] == period_at(period, now, zone)
    return Summary(
        period=period,
        timezone=getattr(zone, "key", "UTC"),
        by=by,
        since=datetime.fromtimestamp(since, zone),
        until=datetime.fromtimestamp(until, zone),
        total=_total(groups),
        groups=_dearest_first(groups, previous, by),
        periods=tuple(
            PeriodAmounts(
                datetime.fromtimestamp(each.start, zone),
                datetime.fromtimestamp(each.end, zone),
                _total(own),
                own,
            )
            for each, own in zip(spans, sums, strict=True)
        ),
        previous=_total(previous),
        previous_whole=_total(previous_whole),
        projected_cost_nano_usd=_projected(_total(sums[-1]), spans[-1], now) if goes_on else None,
    )


def _by_span(
    snapshot: Snapshot, spans: Sequence[Span], by: Labels
) -> Iterator[dict[Labels, Amounts]]:
    """What each span came to. Of thousands most may be empty, and are not asked for one by one."""
    rows = snapshot.amounts(spans[0].start, spans[-1].end, ["bucket"])
    buckets = sorted(bucket for bucket, _ in rows)
    for span in spans:
        first = bisect_left(buckets, span.start)
        is_empty = first == len(buckets) or buckets[first] >= span.end
        yield {} if is_empty else _by_labels(snapshot, span, by)


def _by_labels(snapshot: Snapshot, span: Span, by: Labels) -> dict[Labels, Amounts]:
    columns = list(dict.fromkeys(name if name in LABEL_COLUMNS else "dimensions" for name in by))
    found: dict[Labels, Amounts] = {}
    for *row, amounts in snapshot.amounts(*span, columns):
        said = dict(zip(columns, row, strict=True))
        dimensions = json.loads(said.pop("dimensions", "{}"))
        labels = tuple(said[name] if name in said else dimensions.get(name, "") for name in by)
        found[labels] = found.get(labels, _NOTHING) + amounts
    return dict(sorted(found.items()))


def _added(sums: Iterable[Mapping[Labels, Amounts]]) -> dict[Labels, Amounts]:
    added: dict[Labels, Amounts] = {}
    for each in sums:
        for labels, amounts in each.items():
            added[labels] = added.get(labels, _NOTHING) + amounts
    return added


def _total(groups: Mapping[Labels, Amounts]) -> Amounts:
    return sum(groups.values(), _NOTHING)


def _dearest_first(
    groups: Mapping[Labels, Amounts], previous: Mapping[Labels, Amounts], by: Labels
) -> tuple[Group, ...]:
    order = sorted(groups, key=lambda v: (-groups[v].cost_nano_usd, -groups[v].calls, v))
    return tuple(
        Group(dict(zip(by, values, strict=True)), groups[values], previous.get(values, _NOTHING))
        for values in order
    )


def _projected(spent: Amounts, period: Span, now: int) -> int | None:
    length, passed = period.end - period.start, now - period.start
    if length > passed * PACE_SHARE or not spent.cost_is_known:
        return None
    return spent.cost_nano_usd * length // passed
