"""What a ledger answers: sums, trends and projections, on the wall clock of its time zone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agentmetrics import Ledger, MemoryRecorder, configure, get_ledger, track_call
from agentmetrics.budget.ledger.snapshot import Snapshot
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.budget.periods import zone_of
from agentmetrics.calls.facts import LLMCall
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.providers.usage import Usage
from tests.clock import Clock

BERLIN = "Europe/Berlin"
PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


class Shop:
    """Calls at any time, each costing whole dollars, and the ledger that has them."""

    def __init__(self, path: Path, clock: Clock, zone: str) -> None:
        self.clock, self.zone = clock, zone
        self.recorder = MemoryRecorder()
        pipeline_of(self.recorder, Options(extra_labels=("tenant", "task")))
        self.ledger = Ledger(
            f"sqlite:///{path}", timezone=zone, clock=clock, flush_interval_seconds=3600.0
        )
        self.ledger.attach(self.recorder)

    def spend(
        self, usd: int, when: str, agent: str = "planner", tenant: str = "", task: str = ""
    ) -> None:
        self.clock.set(when, self.zone)
        call = LLMCall(agent, "openai", "gpt-4o", 0.0, extra=(tenant, task))
        call.usage = Usage(usd * 400_000, 0)  # at 2.50 USD a million
        pipeline_of(self.recorder).finish(call)
        self.ledger.flush()

    def spend_unpriced(self, when: str) -> None:
        self.clock.set(when, self.zone)
        call = LLMCall("planner", "openai", "a-model-of-mine", 0.0, extra=("", ""))
        call.usage = Usage(10, 5)
        pipeline_of(self.recorder).finish(call)
        self.ledger.flush()

    def at(self, when: str) -> Ledger:
        """The ledger when a clock on the wall shows this."""
        self.clock.set(when, self.zone)
        return self.ledger


@pytest.fixture
def shop(clock: Clock, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path / "spend.db", clock, BERLIN)
    yield shop
    shop.ledger.close()


def usd(amounts: Amounts | None) -> Decimal | int:
    """A whole number is equal to such a decimal."""
    assert amounts is not None
    return amounts.cost_usd


def local(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


class TestAPeriodThatGoesOn:
    @pytest.mark.parametrize(
        ("period", "since", "until"),
        [
            ("daily", "2025-11-19 00:00", "2025-11-20 00:00"),
            ("weekly", "2025-11-17 00:00", "2025-11-24 00:00"),
            ("monthly", "2025-11-01 00:00", "2025-12-01 00:00"),
        ],
    )
    def test_a_period_that_goes_on_is_what_is_summed_up_unless_told_otherwise(
        self, shop, period, since, until
    ):
        summary = shop.at("2025-11-19 14:30").summary(period)
        assert (local(summary.since), local(summary.until)) == (since, until)
        assert (summary.period, summary.timezone) == (period, BERLIN)
        assert [(p.start, p.end) for p in summary.periods] == [(summary.since, summary.until)]

    def test_a_period_that_goes_on_is_the_day_when_none_is_named_and_by_agent(self, shop):
        shop.spend(1, "2025-11-18 23:59")
        shop.spend(2, "2025-11-19 00:00", "writer")
        shop.spend(4, "2025-11-19 14:00")
        summary = shop.at("2025-11-19 14:30").summary()
        assert [(g.labels, usd(g.amounts)) for g in summary.groups] == [
            ({"agent_name": "planner"}, 4), ({"agent_name": "writer"}, 2)
        ]  # fmt: skip
        assert (usd(summary.total), summary.total.calls) == (6, 2)

    def test_a_period_that_goes_on_has_in_it_what_is_not_written_yet(self, shop):
        shop.at("2025-11-19 14:30")
        call = LLMCall("planner", "openai", "gpt-4o", 0.0, extra=("", ""))
        pipeline_of(shop.recorder).finish(call)
        assert shop.ledger.summary().total.calls == 1


class TestTheTrend:
    def test_the_trend_is_against_the_period_before_up_to_the_same_time(self, shop):
        shop.spend(1, "2025-11-01 10:00")
        shop.spend(4, "2025-11-18 10:00")
        shop.spend(8, "2025-11-18 20:00")
        shop.spend(6, "2025-11-19 09:00")
        summary = shop.at("2025-11-19 14:30").summary("daily")
        assert (usd(summary.previous), usd(summary.previous_whole)) == (4, 12)
        assert summary.trend == 0.5
        assert [group.trend for group in summary.groups] == [0.5]

    def test_the_trend_goes_down_to_all_and_is_none_where_nothing_was_before(self, shop):
        shop.spend(1, "2025-11-01 10:00", "writer")
        shop.spend(4, "2025-11-18 10:00", "planner")
        shop.spend(4, "2025-11-19 10:00", "writer")
        ledger = shop.at("2025-11-19 14:30")
        assert ledger.summary("daily").trend == 0.0
        assert [g.trend for g in ledger.summary("daily").groups] == [None]
        assert shop.at("2025-11-20 00:30").summary("daily").trend is None
        assert shop.at("2025-11-20 14:00").summary("daily").trend == -1.0

    def test_the_trend_of_a_week_is_against_the_same_weekday_and_time(self, shop):
        shop.spend(1, "2025-11-10 08:00")
        shop.spend(2, "2025-11-12 14:00")
        shop.spend(4, "2025-11-12 15:00")
        shop.spend(6, "2025-11-17 09:00")
        summary = shop.at("2025-11-19 14:30").summary("weekly")
        assert (usd(summary.previous), usd(summary.previous_whole)) == (3, 7)

    def test_the_trend_of_a_month_is_against_the_same_day_and_time(self, shop):
        shop.spend(1, "2025-10-01 00:00")
        shop.spend(2, "2025-10-19 14:00")
        shop.spend(4, "2025-10-19 15:00")
        summary = shop.at("2025-11-19 14:30").summary("monthly")
        assert (usd(summary.previous), usd(summary.previous_whole)) == (3, 7)

    @pytest.mark.parametrize("now", ["2025-03-29 00:30", "2025-03-31 23:00"])
    def test_the_trend_on_a_day_that_the_month_before_has_not_is_against_all_of_it(self, shop, now):
        shop.spend(1, "2025-02-01 00:00")
        shop.spend(2, "2025-02-28 23:59")
        assert usd(shop.at(now).summary("monthly").previous) == 3
        assert usd(shop.at("2025-03-28 23:30").summary("monthly").previous) == 1

    def test_the_trend_across_a_change_of_clocks_is_against_the_same_wall_clock_time(self, shop):
        # On the 26th it was 3 o'clock twice as late: the day had 25 hours.
        shop.spend(1, "2025-10-25 09:50")
        shop.spend(2, "2025-10-25 10:20")
        shop.spend(4, "2025-10-26 09:50")
        shop.spend(8, "2025-10-26 10:20")
        assert usd(shop.at("2025-10-26 10:00").summary("daily").previous) == 1
        assert usd(shop.at("2025-10-27 10:00").summary("daily").previous) == 4

    def test_the_trend_is_none_where_a_cost_is_not_known(self, shop):
        shop.spend(1, "2025-11-01 10:00")
        shop.spend(4, "2025-11-18 10:00")
        shop.spend_unpriced("2025-11-19 10:00")
        assert shop.at("2025-11-19 14:30").summary("daily").trend is None
        assert shop.at("2025-11-20 14:30").summary("daily").trend is None
        shop.spend(2, "2025-11-19 11:00")  # of those that are known
        assert shop.at("2025-11-19 14:30").summary("daily").trend == -0.5

    def test_the_trend_is_none_where_the_ledger_is_younger_than_what_was_before(self, shop):
        shop.spend(1, "2025-11-18 12:00")
        shop.spend(2, "2025-11-19 12:00")
        summary = shop.at("2025-11-19 14:30").summary("daily")
        assert (usd(summary.previous), summary.trend, summary.ledger_is_younger) == (1, None, True)
        assert [group.trend for group in summary.groups] == [None]
        shop.spend(2, "2025-11-20 12:00")
        assert shop.at("2025-11-20 14:30").summary("daily").trend == 0

    @pytest.mark.parametrize(("began", "is_younger"), [("00:45", False), ("01:15", True)])
    def test_the_trend_is_not_lost_for_want_of_a_day_s_first_hour(self, shop, began, is_younger):
        shop.spend(1, f"2025-11-18 {began}")
        shop.spend(1, "2025-11-19 12:00")
        assert (
            shop.at("2025-11-20 00:00")
            .summary(since=datetime(2025, 11, 19), until=datetime(2025, 11, 20))
            .ledger_is_younger
            is is_younger
        )

    def test_the_trend_of_an_empty_ledger_is_none(self, shop):
        summary = shop.at("2025-11-19 14:30").summary("daily")
        assert (summary.trend, summary.ledger_since, summary.ledger_is_younger) == (
            None,
            None,
            True,
        )


class TestTheProjection:
    def test_the_projection_is_none_where_the_cost_is_not_known(self, shop):
        shop.spend_unpriced("2025-11-19 01:00")
        assert shop.at("2025-11-19 06:00").summary().projected_cost_nano_usd is None

    def test_the_projection_is_the_pace_of_what_has_passed_until_the_end(self, shop):
        shop.spend(3, "2025-11-19 01:00")
        assert shop.at("2025-11-19 06:00").summary().projected_cost_nano_usd == 12 * 10**9
        assert shop.at("2025-11-19 12:00").summary().projected_cost_nano_usd == 6 * 10**9

    def test_the_projection_knows_that_a_day_has_25_hours(self, shop):
        shop.spend(5, "2025-10-26 01:00")
        # At 4 o'clock in winter time five hours have passed, and 20 are to come.
        assert shop.at("2025-10-26 04:00").summary().projected_cost_nano_usd == 25 * 10**9

    def test_the_projection_knows_that_a_day_has_23_hours(self, shop):
        shop.spend(2, "2025-03-30 00:30")
        assert shop.at("2025-03-30 03:00").summary().projected_cost_nano_usd == 23 * 10**9

    def test_the_projection_waits_until_there_is_a_pace(self, shop):
        shop.spend(1, "2025-11-19 00:10")
        assert shop.at("2025-11-19 00:59").summary().projected_cost_nano_usd is None
        assert shop.at("2025-11-19 01:00").summary().projected_cost_nano_usd == 24 * 10**9

    def test_the_projection_is_none_for_what_is_past_or_to_come(self, shop):
        ledger = shop.at("2025-11-19 12:00")
        for since in (datetime(2025, 11, 17), datetime(2025, 11, 20)):
            summary = ledger.summary("daily", since=since, until=since + timedelta(days=1))
            assert summary.projected_cost_nano_usd is None

    @pytest.mark.parametrize(
        ("since", "until"),
        [
            (datetime(2025, 11, 17), None),
            (None, datetime(2025, 11, 21)),
            (datetime(2025, 11, 17), datetime(2025, 11, 21)),
            (datetime(2025, 10, 17), datetime(2025, 11, 21)),
        ],
    )
    def test_the_projection_is_none_for_a_part_of_what_goes_on(self, shop, since, until):
        shop.spend(3, "2025-11-18 01:00")
        summary = shop.at("2025-11-19 12:00").summary("monthly", since=since, until=until)
        assert summary.projected_cost_nano_usd is None

    def test_the_projection_of_several_periods_is_that_of_the_last(self, shop):
        shop.spend(9, "2025-11-18 01:00")
        shop.spend(3, "2025-11-19 01:00")
        summary = shop.at("2025-11-19 06:00").summary(since=datetime(2025, 11, 17, 5))
        assert summary.projected_cost_nano_usd == 12 * 10**9


class TestASpanOfTime:
    def test_a_span_of_time_is_divided_into_its_periods(self, shop):
        for day in range(10, 24):
            shop.spend(day, f"2025-11-{day} 12:00")
        summary = shop.at("2025-11-23 13:00").summary(
            "weekly", since=datetime(2025, 11, 12), until=datetime(2025, 11, 21)
        )
        assert [(local(p.start), local(p.end), usd(p.total)) for p in summary.periods] == [
            ("2025-11-12 00:00", "2025-11-17 00:00", 12 + 13 + 14 + 15 + 16),
            ("2025-11-17 00:00", "2025-11-21 00:00", 17 + 18 + 19 + 20),
        ]
        assert usd(summary.total) == sum(range(12, 21))
        assert summary.periods[0].groups == {("planner",): summary.periods[0].total}

    def test_a_span_of_time_is_divided_into_other_steps_than_its_period(self, shop):
        for day in range(1, 20):
            shop.spend(day, f"2025-11-{day:02} 12:00")
        summary = shop.at("2025-11-19 13:00").summary("monthly", step="weekly")
        assert [local(p.start)[:10] for p in summary.periods] == [
            "2025-11-01", "2025-11-03", "2025-11-10", "2025-11-17", "2025-11-24",
        ]  # fmt: skip
        assert [usd(p.total) for p in summary.periods[:2]] == [1 + 2, sum(range(3, 10))]
        assert (summary.period, summary.step, summary.count) == ("monthly", "weekly", 1)
        whole = shop.ledger.summary("monthly")
        assert summary.projected_cost_nano_usd == whole.projected_cost_nano_usd
        assert summary.groups == whole.groups

    def test_a_span_of_time_is_compared_with_as_many_periods_before(self, shop):
        for day in range(1, 20):
            shop.spend(day, f"2025-11-{day:02} 12:00")
        summary = shop.at("2025-11-19 13:00").summary(
            "daily", since=datetime(2025, 11, 14), until=datetime(2025, 11, 17)
        )
        assert usd(summary.total) == 14 + 15 + 16
        assert usd(summary.previous) == usd(summary.previous_whole) == 11 + 12 + 13

    def test_a_span_of_time_may_be_in_the_future_in_part(self, shop):
        for day in (12, 13, 18, 19):
            shop.spend(day, f"2025-11-{day} 12:00")
        summary = shop.at("2025-11-19 12:30").summary("weekly", since=datetime(2025, 11, 10))
        assert [usd(p.total) for p in summary.periods] == [25, 37]
        assert usd(summary.previous) == 0

    def test_a_span_of_time_until_a_moment_is_of_the_period_that_ends_there(self, shop):
        summary = shop.at("2025-11-19 12:00").summary("monthly", until=datetime(2025, 10, 1))
        assert (local(summary.since), local(summary.until)) == (
            "2025-09-01 00:00", "2025-10-01 00:00"
        )  # fmt: skip

    def test_a_span_of_time_goes_to_the_quarter_of_an_hour(self, shop):
        shop.spend(1, "2025-11-19 09:59")
        shop.spend(2, "2025-11-19 10:00")
        shop.spend(4, "2025-11-19 10:29")
        shop.spend(8, "2025-11-19 10:30")
        summary = shop.ledger.summary(
            since=datetime(2025, 11, 19, 10, 7), until=datetime(2025, 11, 19, 10, 20)
        )
        assert usd(summary.total) == 6
        assert local(summary.since).endswith("10:00")
        assert local(summary.until).endswith("10:30")

    def test_a_span_of_time_may_be_given_in_any_time_zone(self, shop):
        shop.spend(1, "2025-11-19 00:30")
        tokyo = ZoneInfo("Asia/Tokyo")
        for since, total in (
            (datetime(2025, 11, 19, 8, 0, tzinfo=tokyo), 1),
            (datetime(2025, 11, 18, 23, 0, tzinfo=timezone.utc), 1),
            (datetime(2025, 11, 19, 0, 0, tzinfo=timezone.utc), 0),
        ):
            assert usd(shop.ledger.summary(since=since).total) == total

    @pytest.mark.parametrize("until", [datetime(2025, 11, 19), datetime(2025, 11, 18)])
    def test_a_span_of_time_that_ends_before_it_begins_is_refused(self, shop, until):
        with pytest.raises(ValueError, match="must end after it begins"):
            shop.ledger.summary(since=datetime(2025, 11, 19), until=until)

    @pytest.mark.parametrize("period", ["daily", "weekly", "monthly"])
    @pytest.mark.parametrize(
        ("since", "until"),
        [
            (datetime(1, 1, 1), datetime(1, 1, 2)),
            (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), None),
            (None, datetime(9999, 12, 31, 12)),
            (datetime(9999, 12, 31), datetime.max),
        ],
    )
    def test_a_span_of_time_that_no_calendar_has_is_refused(self, shop, period, since, until):
        with pytest.raises(ValueError, match="is outside the years 1 to 9999"):
            shop.ledger.summary(period, since=since, until=until)

    def test_a_span_of_time_asks_the_database_for_no_period_without_calls(self, shop, monkeypatch):
        shop.spend(1, "2025-11-17 12:00")
        shop.spend(2, "2025-11-19 12:00")
        asked = []
        amounts = Snapshot.amounts

        def counted(*given: Any) -> Any:
            asked.append(given)
            return amounts(*given)

        monkeypatch.setattr(Snapshot, "amounts", counted)
        summary = shop.ledger.summary(since=datetime(1970, 1, 1))
        assert len(summary.periods) > 20_000
        assert [usd(p.total) for p in summary.periods[-3:]] == [1, 0, 2]
        assert len(asked) < 10


class TestGroups:
    @pytest.fixture
    def filled(self, shop: Shop) -> Shop:
        shop.spend(1, "2025-11-19 10:00", "planner", "acme", "sum")
        shop.spend(2, "2025-11-19 11:00", "planner", "acme", "list")
        shop.spend(4, "2025-11-19 12:00", "writer", "globex")
        shop.spend(8, "2025-11-19 13:00", "writer")
        return shop

    @pytest.mark.parametrize(
        ("by", "expected"),
        [
            (["tenant"], {("",): 8, ("globex",): 4, ("acme",): 3}),
            (["agent", "tenant"], {("writer", ""): 8, ("writer", "globex"): 4,
                                   ("planner", "acme"): 3}),
            (["task", "provider"], {("", "openai"): 12, ("list", "openai"): 2,
                                    ("sum", "openai"): 1}),
            (["model", "status"], {("gpt-4o", "success"): 15}),
            (["never_named"], {("",): 15}),
            ([], {(): 15}),
            ("tenant", {("",): 8, ("globex",): 4, ("acme",): 3}),
        ],
    )  # fmt: skip
    def test_groups_are_by_any_label_the_dearest_first(self, filled, by, expected):
        summary = filled.ledger.summary(by=by)
        found = {tuple(g.labels.values()): usd(g.amounts) for g in summary.groups}
        assert found == expected
        assert list(found) == list(expected)
        assert usd(summary.total) == 15

    @pytest.mark.parametrize("name", ["bucket", "dimensions", "key_hash"])
    def test_groups_are_by_no_column_that_is_no_label(self, shop, name):
        shop.recorder = MemoryRecorder()
        pipeline_of(shop.recorder, Options(extra_labels=(name,)))
        shop.ledger.attach(shop.recorder)
        shop.spend(1, "2025-11-19 10:00", tenant="acme")
        (group,) = shop.ledger.summary(by=[name]).groups
        assert group.labels == {name: "acme"}

    def test_groups_name_a_label_once(self, shop):
        with pytest.raises(ValueError, match="given twice"):
            shop.ledger.summary(by=["agent", "agent_name"])

    def test_groups_are_only_of_the_calls_that_were_asked_for(self, filled):
        summary = filled.ledger.summary(by=["tenant"], only={"agent": "writer"})
        assert {g.labels["tenant"]: usd(g.amounts) for g in summary.groups} == {
            "": 8, "globex": 4
        }  # fmt: skip
        assert summary.only == {"agent_name": ("writer",)}
        assert filled.ledger.summary(only={"agent_name": ["nobody"]}).total == Amounts()


class TestAQuestion:
    @pytest.mark.parametrize(
        ("only", "said"),
        [
            ({"tenant": ["acme"]}, "'tenant' is not a label that calls can be selected by"),
            ({"agent": []}, "agent: a value to select by"),
            ({"agent": [""]}, "agent: a value to select by"),
        ],
    )
    def test_a_question_about_calls_that_cannot_be_selected_is_refused(self, shop, only, said):
        with pytest.raises(ValueError, match=said):
            shop.ledger.summary(only=only)

    def test_a_question_about_no_period_is_refused(self, shop):
        with pytest.raises(ValueError, match="'yearly' is not a period; use one of daily, weekly"):
            shop.ledger.summary("yearly")

    @pytest.mark.parametrize("name", ["Europe/Atlantis", "../etc/passwd", "", "Europe"])
    def test_in_no_time_zone_is_refused(self, tmp_path, name):
        with pytest.raises(ValueError, match="unknown time zone"):
            Ledger(f"sqlite:///{tmp_path}/spend.db", timezone=name)

    def test_a_question_in_utc_needs_no_data_of_the_machine(self):
        assert zone_of("UTC") is timezone.utc


class TestPlainData:
    def test_plain_data_is_ready_for_json_and_exact(self, shop):
        shop.spend(1, "2025-11-01 10:00")
        shop.spend(1, "2025-11-18 10:00")
        shop.spend(3, "2025-11-19 10:00", tenant="acme")
        data = json.loads(json.dumps(shop.at("2025-11-19 12:00").summary(by=["tenant"]).as_dict()))
        assert data["since"] == "2025-11-19T00:00:00+01:00"
        assert (data["period"], data["timezone"], data["by"]) == ("daily", BERLIN, ["tenant"])
        assert (data["total"]["cost_nano_usd"], data["total"]["cost_usd"]) == (3 * 10**9, 3.0)
        assert data["trend"] == 2.0
        assert (data["step"], data["only"]) == ("daily", {})
        assert (data["ledger_since"], data["ledger_is_younger"]) == (
            "2025-11-01T10:00:00+01:00",
            False,
        )
        assert (data["projected_cost_nano_usd"], data["projected_cost_usd"]) == (6 * 10**9, 6.0)
        (group,) = data["groups"]
        assert group["labels"] == {"tenant": "acme"}
        assert (group["calls"], group["previous"]["calls"], group["trend"]) == (1, 0, None)
        (period,) = data["periods"]
        assert period["end"] == "2025-11-20T00:00:00+01:00"
        assert [(g["labels"], g["cost_usd"]) for g in period["groups"]] == [({"tenant": "acme"}, 3)]
        assert data["previous"]["cost_usd"] == data["previous_whole"]["cost_usd"] == 1.0

    def test_plain_data_has_no_cost_where_none_is_known(self, shop):
        shop.spend_unpriced("2025-11-19 10:00")
        data = shop.at("2025-11-20 12:00").summary(since=datetime(2025, 11, 19)).as_dict()
        (group,), (period, empty) = data["groups"], data["periods"]
        for amounts in (data["total"], group, period, period["groups"][0]):
            assert (amounts["calls"], amounts["unpriced_calls"]) == (1, 1)
            assert amounts["cost_usd"] is amounts["cost_nano_usd"] is None
        for amounts in (empty, data["previous"], group["previous"]):
            assert (amounts["calls"], amounts["cost_usd"], amounts["cost_nano_usd"]) == (0, 0.0, 0)

    @pytest.mark.parametrize(
        ("amounts", "is_known"),
        [
            (Amounts(), True),
            (Amounts(calls=1), True),  # of a free model
            (Amounts(calls=2, unpriced_calls=1), True),
            (Amounts(calls=2, unpriced_calls=1, cost_nano_usd=1), True),
            (Amounts(calls=2, unpriced_calls=2), False),
            (Amounts(calls=2, unmetered_calls=2), False),
            (Amounts(calls=2, unpriced_calls=1, unmetered_calls=1), False),
            (Amounts(calls=1, unpriced_calls=1, unmetered_calls=1), False),  # of one way's tokens
        ],
    )
    def test_plain_data_has_a_cost_where_one_call_has(self, amounts, is_known):
        assert amounts.cost_is_known is is_known
        assert (amounts.as_dict()["cost_nano_usd"] is not None) is is_known

    def test_plain_data_says_when_there_is_no_projection(self, shop):
        data = shop.at("2025-11-19 00:05").summary().as_dict()
        assert data["projected_cost_nano_usd"] is data["projected_cost_usd"] is None


@pytest.mark.parametrize(
    "example", re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
)
def test_each_example_of_the_page_runs_by_itself(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENTMETRICS_LEDGER_URL", "sqlite:///spend.db")
    with replaced(MemoryRecorder()):
        configure()
        names: dict[str, object] = {}
        exec(compile(example, PAGE.name, "exec"), names)
        ledger = names.get("ledger", get_ledger())
        assert isinstance(ledger, Ledger)
        with track_call("openai", "gpt-4o", agent_name="researcher"):
            pass
        ledger.flush()
        assert ledger.summary("daily").total.calls  # the example left it at work
        ledger.close()
