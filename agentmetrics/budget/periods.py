"""Days, weeks and months of a time zone, as Unix seconds.

Everything goes through Unix time: two aware datetimes of one zone are compared and subtracted by
their wall clocks, which is wrong on the days that have 23 or 25 hours.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

BUCKET_SECONDS = 900
"""A row of the ledger is a quarter of an hour, not an hour: every offset from UTC that is in use is
a multiple of 15 minutes (Asia/Kolkata has +05:30, Asia/Kathmandu +05:45), so days of any time zone
begin and end between two rows."""

Period = Literal["daily", "weekly", "monthly"]
PERIODS: tuple[Period, ...] = ("daily", "weekly", "monthly")
LONGEST_DAYS: dict[Period, int] = {"daily": 2, "weekly": 8, "monthly": 32}
"""So many times 24 hours hold any one of them, also one with a day of 25 hours in it."""

PACE_SHARE = 24
"""A projection needs this part of the period to have passed: of a day an hour."""


class Span(NamedTuple):
    """From ``start`` until just before ``end``, in Unix seconds."""

    start: int
    end: int


def zone_of(name: str) -> tzinfo:
    """The time zone of this name. ``ValueError`` when there is none."""
    if name == "UTC":
        return timezone.utc  # also where the machine has no time zone data
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r}; use a name such as 'Europe/Berlin', and install the "
            "package tzdata if this machine has no time zone data"
        ) from None


def check_period(name: str) -> None:
    """Raise ``ValueError`` for a name of no period."""
    if name not in PERIODS:
        raise ValueError(f"{name!r} is not a period; use one of {', '.join(PERIODS)}")


def unix_seconds(moment: datetime, zone: tzinfo) -> int:
    """A moment that, where it names no time zone, is one of the wall clock of ``zone``.

    Of a time that the clock shows twice the first counts, and of one that it leaves out the one
    as long after the gap began.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return int(moment.timestamp())


def wall_clock(seconds: int, zone: tzinfo) -> datetime:
    """What a clock on the wall shows, without its zone, so that days can be added to it."""
    return datetime.fromtimestamp(seconds, zone).replace(tzinfo=None, fold=0)


def period_at(period: Period, seconds: int, zone: tzinfo) -> Span:
    """The day, week (from Monday) or month that a moment is in."""
    first = _first_day(period, wall_clock(seconds, zone).date())
    return Span(_midnight(first, zone), _midnight(_next_first_day(period, first), zone))


def periods_of(period: Period, span: Span, zone: tzinfo) -> Iterator[Span]:
    """The periods that a span touches, the first and the last cut at its ends."""
    start = span.start
    while start < span.end:
        end = min(period_at(period, start, zone).end, span.end)
        yield Span(start, end)
        start = end


def earlier(period: Period, seconds: int, count: int, zone: tzinfo) -> int:
    """The same wall-clock time this many periods before; a day past a month's last is its end."""
    clock = wall_clock(seconds, zone)
    if period != "monthly":
        days = count * (7 if period == "weekly" else 1)
        return unix_seconds(clock - timedelta(days=days), zone)
    months = clock.year * 12 + clock.month - 1 - count
    year, month = months // 12, months % 12 + 1
    if clock.day > monthrange(year, month)[1]:
        return _midnight(_next_first_day("monthly", date(year, month, 1)), zone)
    return unix_seconds(clock.replace(year=year, month=month), zone)


def whole_buckets(span: Span) -> Span:
    """The span with its ends on quarters of an hour: earlier for the start, later for the end."""
    return Span(
        span.start // BUCKET_SECONDS * BUCKET_SECONDS,
        -(-span.end // BUCKET_SECONDS) * BUCKET_SECONDS,
    )


def _first_day(period: Period, day: date) -> date:
    if period == "weekly":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "monthly" else day


def _next_first_day(period: Period, first: date) -> date:
    if period == "monthly":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if period == "weekly" else 1)


def _midnight(day: date, zone: tzinfo) -> int:
    return unix_seconds(datetime.combine(day, time()), zone)
