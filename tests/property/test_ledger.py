"""Any calls, in any batches, give the same sums; days are those of the wall, however long."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given, settings
from hypothesis import strategies as st

from agentmetrics import Ledger, MemoryRecorder
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.budget.periods import Span, earlier, period_at, periods_of
from agentmetrics.calls.facts import LLMCall
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.providers.usage import Usage
from tests.clock import one_clock

AGENTS = ("planner", "writer")
MODELS = ("gpt-4o", "gpt-4o-mini", "a-model-of-mine")
TENANTS = ("acme", "", 'Ümläut "quoted"')
ALL_TIME = (datetime(2000, 1, 1), datetime(2100, 1, 1))

usages = st.one_of(
    st.none(),
    st.builds(Usage.plain, st.integers(0, 10_000), st.integers(0, 10_000)),
    st.builds(lambda n: Usage.of(input_tokens=n), st.integers(0, 9)),
    st.builds(
        lambda total, part: Usage.of(
            input_tokens=total, output_tokens=total, cache_read_tokens=min(part, total),
            reasoning_tokens=min(part, total),
        ),
        st.integers(0, 10_000),
        st.integers(0, 10_000),
    ),
)  # fmt: skip
calls = st.tuples(
    st.sampled_from(AGENTS), st.sampled_from(MODELS), st.sampled_from(TENANTS), usages,
    st.sampled_from(["success", "error"]),
)  # fmt: skip
steps = st.lists(st.one_of(calls, st.sampled_from(["flush", "fold", "restart"])), max_size=40)


class Program:
    """A recorder with a ledger, which may be closed and opened again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.recorder = MemoryRecorder()
        pipeline_of(self.recorder, Options(extra_labels=("tenant",)))
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self._url, flush_interval_seconds=3600.0)
        self.ledger.attach(self.recorder)
        self.spend = self.ledger.follow({"agent_name": "planner"}, *ALL_TIME)
        self.ledger.flush()

    def call(
        self, agent: str, model: str, tenant: str, usage: Usage | None, status: str
    ) -> LLMCall:
        call = LLMCall(agent, "openai", model, 0.0, extra=(tenant,))
        call.usage = usage
        pipeline_of(self.recorder).finish(call, None if status == "success" else KeyError())
        return call

    def do(self, step: str) -> None:
        if step == "flush":
            self.ledger.flush()
        elif step == "fold":
            self.ledger.pending_rows()
        else:
            self.ledger.close()
            self.open()


def amounts_of(call: LLMCall) -> Amounts:
    """What one call adds, by plain arithmetic."""
    usage = call.usage
    if usage is None:
        return Amounts(calls=1, unmetered_calls=1)
    return Amounts(
        calls=1,
        unpriced_calls=int(call.cost_usd is None),
        unmetered_calls=int(usage.input_tokens is None or usage.output_tokens is None),
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        cache_read_tokens=usage.cache_read_tokens or 0,
        reasoning_tokens=usage.reasoning_tokens or 0,
        cost_nano_usd=round((call.cost_usd or 0) * 1e9),
    )


@settings(max_examples=40, deadline=None)
@given(steps)
def test_any_calls_in_any_batches_give_the_same_sums(given_steps):
    expected: dict[tuple[str, ...], Amounts] = defaultdict(Amounts)
    with tempfile.TemporaryDirectory() as directory:
        program = Program(f"sqlite:///{directory}/spend.db")
        for step in given_steps:
            if isinstance(step, str):
                program.do(step)
            else:
                call = program.call(*step)
                expected[call.agent_name, call.model, step[2], call.status] += amounts_of(call)
            of_planner = [v for k, v in expected.items() if k[0] == "planner"]
            assert program.spend.nano_usd == sum(v.cost_nano_usd for v in of_planner)
        summary = program.ledger.summary("daily", by=["agent", "model", "tenant", "status"])
        program.ledger.close()
    assert {tuple(g.labels.values()): g.amounts for g in summary.groups} == expected
    assert summary.total == sum(expected.values(), Amounts())
    costs = [group.amounts.cost_nano_usd for group in summary.groups]
    assert costs == sorted(costs, reverse=True)
    told = program.recorder.value("llm_cost_usd_total")
    assert round(told * 1e9) == summary.total.cost_nano_usd


ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")
# Around the days on which clocks in one of them change, by an hour or by half an hour.
CHANGES = (
    datetime(2025, 3, 9), datetime(2025, 3, 30), datetime(2025, 4, 5), datetime(2025, 10, 4),
    datetime(2025, 10, 26), datetime(2025, 11, 2), datetime(2026, 1, 1),
)  # fmt: skip


@st.composite
def times_in_a_zone(draw: st.DrawFn) -> tuple[str, list[int]]:
    """A zone and moments around its midnights, on which a row that is too long shows."""
    zone = draw(st.sampled_from(ZONES))
    days = st.builds(
        lambda change, offset: change + timedelta(days=offset),
        st.sampled_from(CHANGES),
        st.integers(-6, 6),
    )
    minutes = st.one_of(st.integers(-70, 70), st.integers(0, 1440))
    moments = st.builds(
        lambda day, minute: int(day.replace(tzinfo=ZoneInfo(zone)).timestamp()) + 60 * minute,
        days,
        minutes,
    )
    return zone, draw(st.lists(moments, min_size=1, max_size=12))


def first_day(period: str, day: date) -> date:
    """The naive reference: the first day of the day's period, on a calendar."""
    if period == "weekly":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "monthly" else day


@settings(max_examples=40, deadline=None)
@given(times_in_a_zone(), st.sampled_from(["daily", "weekly", "monthly"]))
def test_periods_are_those_of_a_calendar_on_the_wall(zone_and_times, period):
    zone, times = zone_and_times
    local = [datetime.fromtimestamp(at, ZoneInfo(zone)).date() for at in times]
    expected: dict[date, int] = defaultdict(int)
    for day in local:
        expected[first_day(period, day)] += 1
    with tempfile.TemporaryDirectory() as directory, one_clock() as clock:
        recorder = MemoryRecorder()
        with Ledger(f"sqlite:///{directory}/spend.db", timezone=zone, clock=clock) as ledger:
            ledger.attach(recorder)
            for at in times:
                clock.now = float(at)
                pipeline_of(recorder).finish(LLMCall("planner", "openai", "gpt-4o", 0.0))
                ledger.flush()
            summary = ledger.summary(
                period,
                since=datetime.combine(min(local), datetime.min.time()),
                until=datetime.combine(max(local) + timedelta(days=1), datetime.min.time()),
            )
    found = {
        first_day(period, each.start.date()): each.total.calls
        for each in summary.periods
        if each.total.calls
    }
    assert found == expected
    assert summary.total.calls == len(times)
    for before, after in pairwise(summary.periods):
        assert before.end == after.start
        assert (after.start.hour, after.start.minute) == (0, 0)
        assert first_day(period, after.start.date()) == after.start.date()
    assert summary.periods[0].start == summary.since
    assert summary.periods[-1].end == summary.until


@settings(max_examples=300)
@given(
    st.integers(1_700_000_000, 1_900_000_000),
    st.sampled_from(sorted(available_timezones())),
    st.sampled_from(["daily", "weekly", "monthly"]),
)
def test_every_moment_is_in_one_period_of_every_time_zone(at, zone, period):
    zone = ZoneInfo(zone)
    span = period_at(period, at, zone)
    assert span.start <= at < span.end
    assert span.start % 900 == span.end % 900 == 0  # a day begins between two rows
    assert period_at(period, span.start, zone) == span == period_at(period, span.end - 1, zone)
    around = list(periods_of(period, Span(span.start - 900, span.end + 900), zone))
    assert around == [
        (span.start - 900, span.start), (span.start, span.end), (span.end, span.end + 900)
    ]  # fmt: skip
    assert earlier(period, span.end, 1, zone) == span.start
    assert earlier(period, at, 1, zone) <= span.start
    clock, before = (datetime.fromtimestamp(t, zone) for t in (at, earlier(period, at, 1, zone)))
    if period == "weekly":
        assert clock.weekday() == before.weekday()
