"""``agentmetrics cost`` day by day: the table of days and agents, and the chart."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.cells import cell_len

from tests.unit.books import ZONE, Books, lines
from tests.unit.test_cli import in_a_process, run

pytestmark = pytest.mark.usefixtures("no_settings")

AGENTS = ("researcher", "planner", "writer", "summariser", "critic", "日本語エージェント")


@pytest.fixture
def week(books: Books) -> Books:
    """A week of six agents, of which each costs half of the one before."""
    for day in range(13, 20):
        for number, agent in enumerate(AGENTS):
            books.call(f"2025-11-{day} 10:{number}0", agent, 4_000_000 >> number)
    books.spend("2025-11-19 11:50", "planner", 1000, "a-model-of-mine")
    books.clock.set("2025-11-19 14:30", ZONE)
    return books


class TestDaysAndAgents:
    def test_days_and_agents_are_a_table_with_totals_of_both(self, week):
        done = week.cost("--by", "day,agent", COLUMNS="120")
        assert (done.exit_code, done.stderr) == (0, "")
        first, _, rest = done.stdout.partition("Cost of ")
        table = lines(first)
        assert table[:2] == [
            "Cost by day and agent, USD",
            "day researcher planner writer summariser critic 日本語エージェント total",
        ]
        assert table[-2:] == [
            "Wed 19 Nov 10.40 5.20+ 2.60 1.30 0.65 0.32 20.48+",
            "total 72.80 36.40+ 18.20 9.10 4.55 2.28 143.32+",
        ]
        assert lines(rest)[0] == "Thu 6 Nov 2025 to Wed 19 Nov 2025, Europe/Berlin"

    @pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
    def test_days_and_agents_fit_the_terminal_the_cheapest_together(self, week, width):
        table = week.cost("--by", "day,agent", COLUMNS=str(width)).stdout.partition("Cost of")[0]
        assert max(map(cell_len, table.splitlines())) <= width
        assert "…" not in table
        (wednesday,) = (line for line in lines(table) if line.startswith("Wed 19 Nov"))
        *agents, total = (float(each.strip("+")) for each in wednesday.split()[3:])
        assert total == 20.48
        if agents:
            assert sum(agents) == pytest.approx(total, abs=0.03)
        assert ("others" in table) == (0 < len(agents) < len(AGENTS))
        assert len(agents) >= {30: 0, 40: 2, 60: 4}.get(width, 5)

    def test_days_and_agents_are_in_csv_and_json_one_by_one(self, week):
        asked = ("--by", "day,agent", "--agent", "writer", "--agent", "critic")
        rows = list(csv.DictReader(io.StringIO(week.cost(*asked, "--csv").stdout)))
        assert [(r["start"][:10], r["agent_name"]) for r in rows[:3]] == [
            ("2025-11-13", "critic"), ("2025-11-13", "writer"), ("2025-11-14", "critic"),
        ]  # fmt: skip
        assert len(rows) == 2 * 7
        found = json.loads(week.cost(*asked, "--json").stdout)
        assert len(found["periods"]) == 14
        assert [len(each["groups"]) for each in found["periods"]] == [0] * 7 + [2] * 7

    def test_days_and_one_agent_are_one_column(self, week):
        table = week.cost("--by", "day,agent", "--agent", "writer").stdout.partition("Cost of")[0]
        assert lines(table)[2:4] == ["day writer", "Thu 13 Nov 2.60"]

    def test_days_alone_are_a_table_of_their_own(self, week):
        said = week.cost("--by", "day", "--since", "yesterday", "--agent", "writer").stdout
        assert " ".join(lines(said)[:2]).startswith(
            "Cost by day, Tue 18 Nov 2025 to Wed 19 Nov 2025, Europe/Berlin, agent writer"
        )
        assert "Cost of" not in said

    def test_a_cost_of_less_than_a_cent_is_not_shown_as_nothing(self, week):
        week.spend("2025-11-19 12:00", "tiny", 1000)
        week.clock.set("2025-11-19 14:30", ZONE)
        table = week.cost("--by", "day,agent", COLUMNS="120").stdout
        assert "<0.01" in table

    def test_days_of_several_years_have_their_years(self, week):
        week.spend("2024-11-19 12:00", "planner", 1000)
        week.clock.set("2025-11-19 14:30", ZONE)
        table = week.cost("--by", "day,agent", "--since", "2024-11-19", COLUMNS="120").stdout
        assert "\nTue 19 Nov 2024 " in table
        assert "\nWed 19 Nov 2025 " in table

    def test_weeks_and_agents_are_called_by_their_mondays(self, week):
        table = week.cost("--by", "week,agent").stdout
        assert "week of" in table
        assert "Mon 10 Nov" in table


class TestTheChart:
    @pytest.mark.parametrize("width", [40, 80, 120])
    def test_the_chart_has_a_bar_for_each_day_that_fits(self, week, width):
        chart = week.cost("--chart", COLUMNS=str(width)).stdout.partition("Cost of")[0]
        assert max(map(len, chart.splitlines())) <= width
        days = [line for line in lines(chart) if " Nov " in line]
        assert [line[:10] for line in days] == [
            "Thu 13 Nov", "Fri 14 Nov", "Sat 15 Nov", "Sun 16 Nov", "Mon 17 Nov", "Tue 18 Nov",
            "Wed 19 Nov",
        ]  # fmt: skip
        assert all("█" * 12 in line for line in days)

    def test_the_chart_is_as_long_as_what_was_spent(self, books):
        for day, tokens in ((17, 1_000_000), (18, 4_000_000), (19, 2_000_000)):
            books.spend(f"2025-11-{day} 10:00", "planner", tokens)
        chart = books.cost("--chart", "--by", "").stdout
        bars = [
            line.count("█") for line in chart.splitlines() if re.match(r"\w{3} \d\d Nov ", line)
        ]
        assert bars == [14, 57, 28]

    def test_the_chart_is_ascii_where_the_terminal_is(self, week):
        code, chart, complaints = in_a_process(
            "cost", "--chart", "--agent=planner", "--until=2025-11-20", "--since=2025-11-13",
            AGENTMETRICS_LEDGER_URL=week.url, AGENTMETRICS_TIMEZONE=ZONE, COLUMNS="40",
            PYTHONIOENCODING="ascii",
        )  # fmt: skip
        assert (code, complaints) == (0, "")
        assert chart.isascii()
        assert "############" in chart

    @pytest.mark.parametrize(
        ("since", "heading"),
        [("2025-09-01", "day"), ("2025-01-01", "week"), ("1970-01-01", "month")],
    )
    def test_the_chart_of_a_long_time_has_weeks_or_months(self, week, since, heading):
        week.spend("2010-01-01 12:00", "planner", 1000)
        week.clock.set("2025-11-19 14:30", ZONE)
        chart = week.cost("--chart", "--since", since).stdout
        assert chart.startswith(f"Cost by {heading}")
        assert len(chart.splitlines()) < 250

    def test_the_chart_of_a_young_ledger_has_days_however_long_the_time(self, week):
        chart = week.cost("--chart", "--since", "1970-01-01", "--until", "2030-01-01").stdout
        assert chart.startswith("Cost by day")
        assert len(re.findall(r"^\w{3} \d\d Nov ", chart, re.MULTILINE)) == 7

    def test_the_chart_has_the_days_that_were_asked_for_however_many(self, week):
        chart = week.cost("--chart", "--since", "2025-01-01", "--by", "day,agent").stdout
        assert chart.startswith("Cost by day")

    def test_the_chart_of_a_month_ends_with_this_day(self, week):
        chart = lines(week.cost("--chart", "--this-month").stdout.partition("Cost of")[0])
        assert chart[-2].startswith("Wed 19 Nov")

    def test_the_chart_of_nothing_is_a_sentence(self, week):
        done = week.cost("--chart", "--until", "2024-01-02", "--since", "2024-01-01")
        assert done.stdout == "No calls: Mon 1 Jan 2024, Europe/Berlin.\n"

    def test_a_chart_and_json_at_once_are_refused(self):
        done = run("cost", "--chart", "--json")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "use --json or --chart, not both" in done.stderr
