"""What was spent, on what, more or less than before, and where it will end."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentmetrics.budget.ledger.question import LABEL_COLUMNS, Labels, Only, Question
from agentmetrics.budget.ledger.snapshot import Snapshot
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.budget.periods import (
    PACE_SHARE,
    Period,
    Span,
    earlier,
    period_at,
    whole_buckets,
)

_NOTHING = Amounts()


@dataclass(frozen=True, slots=True)
class Group:
    """The calls with these labels; ``previous`` is what they came to before, and ``trend`` as in
    ``Summary``."""

    labels: Mapping[str, str]
    amounts: Amounts
    previous: Amounts
    trend: float | None

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
    """What the calls from ``since`` until ``until`` cost, or those of them with ``only`` these
    labels.

    ``groups`` are by the labels in ``by``, most expensive first, and ``periods`` are in order: each
    is a ``step``, which is the ``period`` unless another was asked for. The time covers ``count``
    periods, the first and the last perhaps in part.

    ``previous`` is the total for the same stretch of time as many periods earlier, up to the same
    wall-clock time (to the quarter of an hour) if the last period is still in progress;
    ``previous_whole`` is the total for all of it. ``trend`` is the cost relative to ``previous``:
    0.5 is half more, -0.5 half less. It is ``None`` when there was none then, when the cost now is
    not known, and when the ledger, whose oldest row is of ``ledger_since``, is younger than the
    stretch that it would be compared with: ``ledger_is_younger``.

    ``projected_cost_nano_usd`` is the projected cost of the current period at its end, at the rate
    so far; ``None`` unless the last period is the current one and whole, enough of it has passed
    for a rate, and its cost is known.
    """

    period: Period
    step: Period
    timezone: str
    by: Labels
    only: Only
    since: datetime
    until: datetime
    count: int
    total: Amounts
    groups: tuple[Group, ...]
    periods: tuple[PeriodAmounts, ...]
    previous: Amounts
    previous_whole: Amounts
    trend: float | None
    ledger_since: datetime | None
    ledger_is_younger: bool
    projected_cost_nano_usd: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        projected = self.projected_cost_nano_usd
        return {
            "period": self.period,
            "step": self.step,
            "timezone": self.timezone,
            "by": list(self.by),
            "only": {name: list(values) for name, values in self.only.items()},
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "ledger_since": self.ledger_since.isoformat() if self.ledger_since else None,
            "ledger_is_younger": self.ledger_is_younger,
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


def answer(question: Question, snapshot: Snapshot) -> Summary:
    """The summary, all of it from one moment of the ledger."""
    spans, zone = question.spans, question.zone
    sums = list(_by_span(question, snapshot))
    groups = _added(sums)
    total = _total(groups)
    before = _until_now(question)
    previous = previous_whole = _by_labels(question, snapshot, whole_buckets(question.before))
    if before != question.before:
        previous = _by_labels(question, snapshot, whole_buckets(before))
    began = snapshot.began()
    ledger_is_younger = _is_younger(began, before)

    def trend(amounts: Amounts, earlier: Amounts) -> float | None:
        return None if ledger_is_younger else _trend(amounts, earlier)

    def group(values: Labels) -> Group:
        own, then = groups[values], previous.get(values, _NOTHING)
        return Group(dict(zip(question.by, values, strict=True)), own, then, trend(own, then))

    def local(seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, zone)

    return Summary(
        period=question.period,
        step=question.step,
        timezone=getattr(zone, "key", "UTC"),
        by=question.by,
        only=question.only,
        since=local(spans[0].start),
        until=local(spans[-1].end),
        count=question.count,
        total=total,
        groups=tuple(group(values) for values in _dearest_first(groups)),
        periods=tuple(
            PeriodAmounts(local(each.start), local(each.end), _total(own), own)
            for each, own in zip(spans, sums, strict=True)
        ),
        previous=_total(previous),
        previous_whole=_total(previous_whole),
        trend=trend(total, _total(previous)),
        ledger_since=None if began is None else local(began),
        ledger_is_younger=ledger_is_younger,
        projected_cost_nano_usd=_projected(question, snapshot),
    )


def _until_now(question: Question) -> Span:
    """The stretch before up to the same wall-clock time as now, where the time goes on."""
    start, end = question.before
    if question.spans[0].start < question.now < question.spans[-1].end:
        end = earlier(question.period, question.now, question.count, question.zone)
    return Span(start, end)


def _is_younger(began: int | None, before: Span) -> bool:
    """Whether a ledger misses so much of a stretch that a trend against it would say nothing.

    The first call of a day is not made at midnight: as little as a pace needs may be missing.
    """
    if began is None:
        return True
    return (began - before.start) * PACE_SHARE > before.end - before.start


def _by_span(question: Question, snapshot: Snapshot) -> Iterator[dict[Labels, Amounts]]:
    """What each span came to. Of thousands most may be empty, and are not asked for one by one."""
    spans = question.spans
    rows = snapshot.amounts(spans[0].start, spans[-1].end, ["bucket"], question.only)
    buckets = sorted(bucket for bucket, _ in rows)
    for span in spans:
        first = bisect_left(buckets, span.start)
        is_empty = first == len(buckets) or buckets[first] >= span.end
        yield {} if is_empty else _by_labels(question, snapshot, span)


def _by_labels(question: Question, snapshot: Snapshot, span: Span) -> dict[Labels, Amounts]:
    by = question.by
    columns = list(dict.fromkeys(name if name in LABEL_COLUMNS else "dimensions" for name in by))
    found: dict[Labels, Amounts] = {}
    for *row, amounts in snapshot.amounts(*span, columns, question.only):
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


def _dearest_first(groups: Mapping[Labels, Amounts]) -> list[Labels]:
    return sorted(groups, key=lambda v: (-groups[v].cost_nano_usd, -groups[v].calls, v))


def _projected(question: Question, snapshot: Snapshot) -> int | None:
    now, last = question.now, question.last
    length, passed = last.end - last.start, now - last.start
    if last != period_at(question.period, now, question.zone) or length > passed * PACE_SHARE:
        return None
    rows = snapshot.amounts(*last, [], question.only)
    spent = sum((amounts for (amounts,) in rows), _NOTHING)
    return spent.cost_nano_usd * length // passed if spent.cost_is_known else None
