"""``agentmetrics cost``: what a user sees of the ledger, and what a program reads."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from typer.testing import Result

from agentmetrics import Ledger
from agentmetrics.budget.ledger import schema
from agentmetrics.budget.ledger.database import Database
from agentmetrics.cli.cost import report as cost_report
from tests.unit.books import ZONE, Books, lines
from tests.unit.test_cli import in_a_process, on_a_terminal, run

pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def filled(books: Books) -> Books:
    """A Wednesday half past two, and what was spent until then."""
    books.call("2025-11-10 10:00", "researcher", 400)
    books.call("2025-11-18 10:00", "researcher", 400_000)
    books.call("2025-11-18 20:00", "researcher", 4_000_000)
    books.call("2025-11-19 09:00", "researcher", 600_000)
    books.call("2025-11-19 09:20", "researcher", 200_000, tenant="acme")
    books.call("2025-11-19 10:00", "planner", 200_000, "gpt-4o")
    books.call("2025-11-19 11:00", "planner", 1_500_000, "a-model-of-mine")
    books.call("2025-11-19 12:00", "writer", None)
    books.call("2025-11-19 12:00", "local", 1000, "a-model-of-mine")
    books.ledger.flush()
    books.clock.set("2025-11-19 14:30", ZONE)
    return books


class TestTheTable:
    def test_the_table_says_what_this_day_has_cost_by_agent(self, filled):
        done = filled.cost()
        assert (done.exit_code, done.stderr) == (0, "")
        assert lines(done.stdout) == [
            "Cost of Wed 19 Nov 2025, Europe/Berlin",
            "input output cost",
            "agent calls tokens tokens USD share trend",
            "researcher 2 800,000 8,000 2.0800 █████████▌ +100%",
            "planner 2 1.7 M 17,000 0.5200+ ██▍ -",
            "local 1 1,000 10 unpriced -",
            "writer 1 0 0 unknown -",
            "total 6 2.5 M 25,010 2.6000+ +150%",
            "Previous day: USD 1.0400 by the same time, USD 11.4400 in total.",
            "At this rate, the day will end at USD 4.3034.",
            "Excluded from totals (+): 2 calls with an unknown price.",
            "Excluded from totals: the unknown tokens of 1 call, and their cost.",
        ]

    def test_the_table_says_of_no_period_that_its_unknown_cost_was_nothing(self, books):
        books.spend("2025-11-10 10:00", "researcher", 400)
        books.spend("2025-11-18 10:00", "local", 1000, "a-model-of-mine")
        books.spend("2025-11-19 10:00", "researcher", 400_000)
        books.clock.set("2025-11-19 14:30", ZONE)
        said = lines(books.cost().stdout)
        assert "Previous day: an unknown cost." in said
        assert "researcher 1 400,000 4,000 1.0400 ████████████ -" in said
        books.spend("2025-11-20 10:00", "local", 1000, "a-model-of-mine")
        books.clock.set("2025-11-20 14:30", ZONE)
        assert lines(books.cost().stdout)[3:] == [
            "local 1 1,000 10 unpriced -",
            "total 1 1,000 10 unpriced -",
            "Previous day: USD 1.0400.",
            "Excluded from totals (+): 1 call with an unknown price.",
        ]

    def test_the_table_fits_a_terminal_of_80_columns(self, filled):
        filled.spend("2025-11-19 12:00", "an-agent-whose-name-is-a-sentence", 90_000_000)
        filled.clock.set("2025-11-19 14:30", ZONE)
        said = filled.cost("--period", "week", "--by", "agent,model", "--since", "2025-10-01")
        assert max(map(len, said.stdout.splitlines())) <= 80
        assert "…" not in said.stdout

    @pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 200])
    @pytest.mark.parametrize("by", ["agent", "agent,model"])
    def test_the_table_of_a_narrow_terminal_keeps_names_and_amounts(self, filled, width, by):
        done = filled.cost("--by", by, COLUMNS=str(width))
        table = done.stdout.partition("Previous day")[0]
        assert "…" not in table
        assert max(map(len, table.splitlines())) <= width
        names = "".join(line[:8].strip() for line in table.splitlines())
        assert "research" in names
        assert "writer" in names
        assert ("2.0800" if by == "agent" else "0.5200") in table
        assert "2.6000+" in table

    @pytest.mark.parametrize("width", [30, 40, 60, 80])
    def test_the_table_by_period_of_a_narrow_terminal_keeps_dates_and_amounts(self, filled, width):
        done = filled.cost("--since", "2025-11-18", COLUMNS=str(width))
        table = done.stdout.partition("Cost of")[0]
        assert "…" not in table
        assert max(map(len, table.splitlines())) <= width
        assert "Tue 18" in table
        assert "11.4400" in table

    def test_the_table_shows_names_as_they_are_written(self, books):
        names = ["[red]team[/red]", "[bold]x", "a:apple:b", "[/x]"]
        for name in names:
            books.spend("2025-11-19 09:00", name, 1000)
        shown = books.cost("--by", "agent").stdout
        assert [name for name in names if name not in shown] == []

    def test_the_table_takes_any_text_for_a_dimension(self, filled):
        done = filled.cost("--by", "[/x]")
        assert (done.exit_code, done.stderr) == (
            0,
            "note: no call in this time range has the label '[/x]'\n",
        )

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
    def test_the_table_can_be_printed_in_any_encoding(self, filled, encoding):
        filled.spend("2025-11-19 12:00", "日本", 1000)
        code, table, complaints = in_a_process(
            "cost", "--since=2025-11-19", "--until=2025-11-20", AGENTMETRICS_TIMEZONE=ZONE,
            AGENTMETRICS_LEDGER_URL=filled.url, PYTHONIOENCODING=encoding, COLUMNS="80",
        )  # fmt: skip
        assert (code, complaints) == (0, "")
        assert re.search(r"researcher .* 2.0800 .*##########", table)
        assert re.search(r"writer .* unknown .* - ", table)
        assert r"\u65e5\u672c" in table

    def test_the_table_has_one_line_for_the_time_before_the_first_call(self, filled):
        done = filled.cost("--since", "1970-01-01")
        assert lines(done.stdout)[3:5] == [
            "Thu 1 Jan 1970 to Sun 9 Nov 2025 0 0.0000",
            "Mon 10 Nov 2025 1 0.0010",
        ]
        assert lines(done.stdout)[12:14] == [
            "Tue 18 Nov 2025 2 11.4400 ████████████",
            "Wed 19 Nov 2025 6 2.6000+ ██▋",
        ]

    def test_the_table_projects_nothing_from_a_part_of_the_period(self, filled):
        assert "At this rate, the month will end" in filled.cost("--period", "month").stdout
        part = filled.cost("--period", "month", "--since", "2025-11-18", "--until", "2025-11-21")
        assert "At this rate" not in part.stdout

    def test_the_table_has_one_table_more_where_there_are_several_periods(self, filled):
        done = filled.cost("--period", "day", "--since", "2025-11-17", "--by", "provider")
        assert lines(done.stdout)[:8] == [
            "Cost by day",
            "cost",
            "day calls USD",
            "Mon 17 Nov 2025 0 0.0000",
            "Tue 18 Nov 2025 2 11.4400 ████████████",
            "Wed 19 Nov 2025 6 2.6000+ ██▋",
            "total 8 14.0400+",
            "Cost of Mon 17 Nov 2025 to Wed 19 Nov 2025, Europe/Berlin",
        ]
        assert "Previous 3 days: no calls." in done.stdout

    @pytest.mark.parametrize(
        ("arguments", "title"),
        [
            (["--period", "week"], "Mon 17 Nov 2025 to Sun 23 Nov 2025"),
            (["--period", "month"], "November 2025"),
            (["--since", "2025-11-19T09:15"], "Wed 19 Nov 2025 09:15 to Thu 20 Nov 2025 00:00"),
            (["--until", "2025-11-19"], "Tue 18 Nov 2025"),
            (["--since", "2025-11-19T10:00+02:00"], "Wed 19 Nov 2025 09:00 to"),
            (["--since", "2025-11-19T08:00Z"], "Wed 19 Nov 2025 09:00 to"),
        ],
    )
    def test_the_table_names_the_time_that_it_is_of(self, filled, arguments, title):
        assert f"Cost of {title}" in lines(filled.cost(*arguments).stdout)[0]

    def test_the_table_without_labels_is_the_total(self, filled):
        assert "6 2.5 M 25,010 2.6000+ ████████████ +150%" in lines(filled.cost("--by", "").stdout)

    @pytest.mark.parametrize(
        ("tokens", "shown"),
        [(400, "0.001040"), (4_000_000, "10.4000"), (4_000_000_000, "10,400.00")],
    )
    def test_the_table_has_as_many_decimals_as_the_sum_needs(self, books, tokens, shown):
        books.spend("2025-11-19 09:00", "planner", tokens)
        assert shown in books.cost().stdout

    def test_the_table_shows_a_trend_off_the_scale_as_such(self, books):
        for when in ("2025-11-17 09:00", "2025-11-18 09:00"):
            books.spend(when, "planner", 1000)
        books.spend("2025-11-19 10:00", "planner", 1_000_000)
        assert "> +999%" in books.cost().stdout

    def test_the_table_shows_no_change_as_none(self, books):
        for day, tokens in ((17, 1000), (18, 1_000_000), (19, 999_000)):
            books.spend(f"2025-11-{day} 09:00", "planner", tokens)
        books.clock.set("2025-11-19 14:30", ZONE)
        assert "planner 1 999,000 9,990 2.5974 ████████████ 0%" in lines(books.cost().stdout)

    def test_the_table_shows_of_next_to_nothing_that_it_is_something(self, books):
        books.spend("2025-11-19 09:00", "shrimp", 1000)
        books.spend("2025-11-19 10:00", "whale", 4_000_000_000)
        assert "shrimp 1 1,000 10 <0.01 -" in lines(books.cost().stdout)

    def test_the_table_of_a_time_without_calls_says_what_there_was_before(self, filled):
        done = filled.cost("--agent", "researcher", "--until", "2025-11-20", "--since", "19h")
        assert "researcher" in done.stdout
        filled.clock.set("2025-11-20 14:30", ZONE)
        assert filled.cost().stdout == (
            "No calls: Thu 20 Nov 2025, Europe/Berlin.\nPrevious day: USD 2.6000.\n"
        )

    def test_a_fee_without_calls_is_a_cost(self, books):
        books.clock.set("2025-11-19 14:30", ZONE)
        books.ledger.record_external(99, provider="openai", agent_name="all", calls=0)
        books.ledger.flush()
        assert "all 0 0 0 99.0000 ████████████ -" in lines(books.cost().stdout)
        assert "99.0000" in books.cost("--chart").stdout

    def test_the_table_of_a_time_without_calls_is_a_sentence(self, filled):
        done = filled.cost("--since", "2024-01-01", "--until", "2024-01-02")
        assert (done.exit_code, done.stdout) == (0, "No calls: Mon 1 Jan 2024, Europe/Berlin.\n")

    def test_the_table_notes_a_dimension_that_no_call_has(self, filled):
        done = filled.cost("--by", "tenat")
        assert done.exit_code == 0
        assert done.stderr == "note: no call in this time range has the label 'tenat'\n"

    def test_the_table_has_colours_on_a_terminal(self, filled):
        said = on_a_terminal(
            "cost", "--since", "2025-11-19", "--until", "2025-11-20",
            AGENTMETRICS_LEDGER_URL=filled.url, AGENTMETRICS_TIMEZONE=ZONE,
        )  # fmt: skip
        assert "\x1b[1mCost of Wed 19 Nov 2025" in said
        assert re.search("\x1b\\[36;49m█+", said)


class TestTheTime:
    @pytest.mark.parametrize(
        ("arguments", "title"),
        [
            (["--since", "Yesterday"], "Tue 18 Nov 2025 to Wed 19 Nov 2025,"),
            (["--since", "7d", "--until", "today"], "Wed 12 Nov 2025 to Tue 18 Nov 2025,"),
            (["--since", "36h"], "Tue 18 Nov 2025 02:30 to Thu 20 Nov 2025 00:00,"),
            (["--this-month"], "November 2025,"),
            (["--by", "day,agent"], "Thu 6 Nov 2025 to Wed 19 Nov 2025,"),
            (["--by", "week,agent"], "Mon 1 Sep 2025 to Sun 23 Nov 2025,"),
            (["--by", "month,agent"], "Sun 1 Dec 2024 to Sun 30 Nov 2025,"),
            (["--by", "day,agent", "--period", "week"], "Mon 17 Nov 2025 to Sun 23 Nov 2025,"),
            (["--chart"], "Thu 6 Nov 2025 to Wed 19 Nov 2025,"),
            (["--chart", "--since", "yesterday"], "Tue 18 Nov 2025 to Wed 19 Nov 2025,"),
        ],
    )
    def test_the_time_may_be_said_as_people_say_it(self, filled, arguments, title):
        said = " ".join(filled.cost(*arguments, COLUMNS="200").stdout.split())
        assert f"Cost of {title}" in said

    def test_the_time_of_last_month_is_all_of_it_against_the_one_before(self, books):
        for when in ("2025-08-31 12:00", "2025-09-20 12:00", "2025-10-31 23:50"):
            books.spend(when, "planner", 4_000_000)
        books.spend("2025-11-19 14:30", "planner", 4_000_000)
        found = json.loads(books.cost("--last-month", "--json").stdout)
        assert (found["since"], found["until"]) == (
            "2025-10-01T00:00:00+02:00",
            "2025-11-01T00:00:00+01:00",
        )
        assert (found["period"], found["total"]["calls"], found["trend"]) == ("monthly", 1, 0.0)

    @pytest.mark.parametrize(
        ("now", "since"),
        [
            ("2025-10-31 14:00", "2025-09-01T00:00:00+02:00"),
            ("2025-03-29 14:00", "2025-02-01T00:00:00+01:00"),
            ("2024-03-31 23:59", "2024-02-01T00:00:00+01:00"),
            ("2026-01-01 00:00", "2025-12-01T00:00:00+01:00"),
        ],
    )
    def test_last_month_is_the_one_before_on_every_day_of_a_month(self, books, now, since):
        books.spend("2024-01-01 12:00", "planner", 1000)
        books.clock.set(now, ZONE)
        found = json.loads(books.cost("--last-month", "--json").stdout)
        assert found["since"] == since
        assert found["until"][:7] == now[:7]

    @pytest.mark.parametrize(
        ("since", "title"),
        [("today", "Sun 7 Sep 2025"), ("2025-09-06", "Sat 6 Sep 2025 to Sun 7 Sep 2025")],
    )
    def test_a_day_that_begins_at_one_is_a_whole_day(self, books, since, title):
        zone = "America/Santiago"
        books.spend("2025-09-05 12:00", "planner", 1000)
        books.spend("2025-09-06 12:00", "planner", 1000)
        books.clock.set("2025-09-07 14:00", zone)
        books.call("2025-09-07 20:00", "planner", 1000)  # in Berlin
        books.ledger.flush()
        said = " ".join(books.cost("--since", since, AGENTMETRICS_TIMEZONE=zone).stdout.split())
        assert f"Cost of {title}, {zone}" in said
        before = books.cost("--until", "2025-09-07", AGENTMETRICS_TIMEZONE=zone).stdout
        assert "Cost of Sat 6 Sep 2025, America/Santiago" in " ".join(before.split())

    def test_a_day_ago_is_a_day_on_the_wall_where_it_had_25_hours(self, books):
        books.spend("2025-10-26 00:10", "planner", 1000)
        books.clock.set("2025-10-27 00:30", ZONE)
        found = json.loads(books.cost("--since", "1d", "--json").stdout)
        assert found["since"] == "2025-10-26T00:00:00+02:00"
        assert found["total"]["calls"] == 1


class TestOnlySome:
    def test_only_calls_of_an_agent_are_summed_up(self, filled):
        done = filled.cost("--agent", "planner", "--by", "model")
        said = lines(done.stdout)
        assert said[0] == "Cost of Wed 19 Nov 2025, Europe/Berlin, agent planner"
        assert [line.split()[0] for line in said[3:6]] == ["gpt-4o", "a-model-of-mine", "total"]
        assert "researcher" not in filled.cost("--agent", "planner", "--agent=writer").stdout

    def test_only_calls_of_both_an_agent_and_a_model_are_summed_up(self, filled):
        asked = ("--agent=planner", "--agent=local", "--model=a-model-of-mine", "--json")
        found = json.loads(filled.cost(*asked).stdout)
        assert found["only"] == {"agent_name": ["planner", "local"], "model": ["a-model-of-mine"]}
        assert {g["labels"]["agent_name"]: g["calls"] for g in found["groups"]} == {
            "planner": 1,
            "local": 1,
        }
        (_, *rows) = filled.cost(*asked[:-1], "--csv").stdout.splitlines()
        assert len(rows) == 2

    def test_a_model_is_also_the_one_that_served(self, filled):
        with Database(filled.url)._engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE agentmetrics_ledger SET served_model = 'gpt-4o-2024-08-06' "
                "WHERE agent_name = 'planner' AND model = 'gpt-4o'"
            )
        assert "0.520000" in filled.cost("--model", "gpt-4o-2024-08-06").stdout
        assert "2.6000" in filled.cost("--model", "gpt-4o").stdout

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            (["--agent", "plannr"], "no agent 'plannr': did you mean 'planner'?"),
            (["--agent", "PLANNER"], "no agent 'PLANNER': did you mean 'planner'?"),
            (["--model", "mine"], "no model 'mine': did you mean 'a-model-of-mine'?"),
            (
                ["--agent", "zzz"],
                "no agent 'zzz'; it has 'local', 'planner', 'researcher', 'writer'",
            ),
        ],
    )
    def test_a_name_that_the_ledger_does_not_have_is_said_with_those_near_it(
        self, filled, asked, said
    ):
        done = filled.cost("--agent", "planner", *asked)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == f"agentmetrics: the ledger has {said}\n"

    def test_of_many_names_none_is_said_where_none_is_near(self, filled):
        for number in range(20):
            filled.spend("2025-11-19 12:00", f"agent-{number}", 1000)
        done = filled.cost("--agent", "zzz")
        assert "--since 1970-01-01 --by agent` shows all 24\n" in done.stderr

    def test_a_name_is_looked_for_in_postgresql_as_well(self, postgres):
        url = postgres()
        with Ledger(url) as ledger:
            ledger.record_external(1.5, provider="openai", model="gpt-4o", agent_name="planner")
            ledger.record_external(2.5, provider="openai", model="gpt-4o", agent_name="writer")
        done = run("cost", "--url", url, "--agent", "planner", "--json")
        assert json.loads(done.stdout)["total"]["cost_usd"] == 1.5
        done = run("cost", "--url", url, "--model", "gpt4o")
        assert (done.exit_code, done.stderr) == (
            2,
            "agentmetrics: the ledger has no model 'gpt4o': did you mean 'gpt-4o'?\n",
        )

    def test_a_name_of_another_time_has_no_calls_in_this_one(self, filled):
        done = filled.cost("--agent", "writer", "--until", "2025-11-18")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout == "No calls: Mon 17 Nov 2025, Europe/Berlin, agent writer.\n"

    def test_an_empty_name_is_refused(self, filled):
        done = filled.cost("--model", "")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "model: a value to select by must have at least one character" in done.stderr

    def test_budgets_are_not_beside_some_of_the_calls_only(self, filled, tmp_path):
        path = tmp_path / "budgets.toml"
        path.write_text("[budgets.all]\nlimit_usd = 10")
        for asked, count in (((), 1), (("--agent", "planner"), 0)):
            done = filled.cost("--json", *asked, AGENTMETRICS_BUDGETS_FILE=str(path))
            assert len(json.loads(done.stdout)["budgets"]) == count


class TestAYoungLedger:
    def test_a_ledger_younger_than_the_period_before_shows_no_trend(self, books):
        books.spend("2025-11-18 12:00", "planner", 1000)
        books.spend("2025-11-19 10:00", "planner", 4_000_000)
        books.clock.set("2025-11-19 14:30", ZONE)
        day = lines(books.cost().stdout)
        assert day[3].endswith(" -")
        begun = "the ledger begins on Tue 18 Nov 2025."
        assert f"Previous day: USD 0.0026, no trend: {begun}" in day
        week = lines(books.cost("--period", "week").stdout)
        assert f"Previous week: no trend, since {begun}" in week
        found = json.loads(books.cost("--json").stdout)
        assert (found["trend"], found["ledger_is_younger"]) == (None, True)
        assert found["ledger_since"] == "2025-11-18T12:00:00+01:00"

    def test_a_ledger_that_began_early_in_the_period_before_has_a_trend(self, books):
        books.spend("2025-10-01 09:00", "planner", 4_000_000)
        books.spend("2025-11-01 09:00", "planner", 4_000_000)
        books.clock.set("2025-11-19 14:30", ZONE)
        found = json.loads(books.cost("--json", "--period", "month").stdout)
        assert (found["trend"], found["ledger_is_younger"]) == (0.0, False)


class TestCSV:
    def test_csv_has_a_line_for_each_period_and_group_with_exact_costs(self, filled):
        done = filled.cost("--csv", "--since", "2025-11-18", "--by", "agent", "--by", "tenant")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert [(r["start"][:10], r["agent_name"], r["tenant"], r["cost_usd"]) for r in rows] == [
            ("2025-11-18", "researcher", "", "11.440000000"),
            ("2025-11-19", "local", "", ""),
            ("2025-11-19", "planner", "", "0.520000000"),
            ("2025-11-19", "researcher", "", "1.560000000"),
            ("2025-11-19", "researcher", "acme", "0.520000000"),
            ("2025-11-19", "writer", "", ""),
        ]
        assert [row["cost_nano_usd"] == "" for row in rows] == [r["cost_usd"] == "" for r in rows]
        assert [(r["calls"], r["unpriced_calls"]) for r in rows[1:3]] == [("1", "1"), ("2", "1")]
        assert rows[0]["end"] == rows[1]["start"] == "2025-11-19T00:00:00+01:00"
        assert (rows[0]["calls"], rows[0]["input_tokens"]) == ("2", "4400000")

    @pytest.mark.parametrize(
        "agent",
        ["=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", " =1", "\t=1", "\r=1", "＝1"],  # noqa: RUF001
    )
    def test_no_name_is_a_formula_in_csv(self, filled, agent):
        filled.spend("2025-11-19 13:00", agent, 1000)
        done = filled.cost("--csv")
        names = [row["agent_name"] for row in csv.DictReader(io.StringIO(done.stdout))]
        assert "researcher" in names
        odd = next(
            name for name in names if name not in {"researcher", "planner", "writer", "local"}
        )
        assert odd[0] == "'" or odd[:2] == "_="  # a control character was not recorded

    def test_a_name_that_somebody_else_wrote_commands_no_terminal(self, filled):
        with Database(filled.url)._engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE agentmetrics_ledger SET agent_name = char(27) || ']0;gone' || char(8238) "
                "|| 'x' WHERE agent_name = 'writer'"
            )
        for arguments in ((), ("--csv",), ("--json",)):
            done = filled.cost(*arguments)
            assert done.exit_code == 0
            assert not set(done.stdout) & {"\x1b", "\u202e"}
        assert r"\x1b]0;gone\u202ex" in filled.cost("--csv").stdout

    def test_csv_of_nothing_is_its_header(self, filled):
        done = filled.cost("--csv", "--since", "2024-01-01", "--until", "2024-01-02")
        assert done.stdout.count("\n") == 1


class TestJSON:
    def test_json_is_the_summary(self, filled):
        found = json.loads(filled.cost("--json", "--by", "model").stdout)
        with Ledger(filled.url, timezone=ZONE, clock=filled.clock) as ledger:
            assert found.pop("budgets") == []
            assert found == ledger.summary("daily", by=["model"]).as_dict()

    def test_json_has_null_for_a_cost_that_is_not_known(self, filled):
        found = json.loads(filled.cost("--json").stdout)
        assert {
            group["labels"]["agent_name"]: (group["cost_usd"], group["unpriced_calls"])
            for group in found["groups"]
        } == {
            "researcher": (2.08, 0),
            "planner": (0.52, 1),
            "local": (None, 1),
            "writer": (None, 0),
        }


class TestWhileOthersWrite:
    def test_cost_reads_what_was_there_while_others_write(self, filled):
        database = Database(filled.url)
        with database._writing():
            assert "2.6000" in filled.cost().stdout


class TestWhatCannotBe:
    def sentence(self, done: Result, code: int) -> str:
        assert (done.exit_code, done.stdout) == (code, "")
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("agentmetrics: ")
        return done.stderr

    def test_without_a_ledger_cost_says_how_to_set_one(self):
        assert self.sentence(run("cost"), 2) == (
            "agentmetrics: no ledger is configured: set --url or AGENTMETRICS_LEDGER_URL to a "
            "database URL such as 'sqlite:///spend.db'\n"
        )

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path):
        path = tmp_path / "typo.db"
        said = self.sentence(run("cost", "--url", f"sqlite:///{path}"), 1)
        assert "the file does not exist yet" in said
        assert not path.exists()

    def test_a_relative_file_that_is_not_there_is_named_where_it_was_looked_for(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        said = self.sentence(run("cost", "--url", "sqlite:///typo.db"), 1)
        assert f"'sqlite:///typo.db': there is no file '{tmp_path}/typo.db' yet" in said
        assert "relative to the current directory" in said

    def test_a_database_without_a_ledger_gets_none(self, postgres):
        url = postgres()
        for _ in range(2):
            said = self.sentence(run("cost", f"--url={url}"), 1)
            assert "no program has written to this ledger yet" in said
            assert "s3cret" not in said

    def test_an_older_ledger_is_left_to_those_who_write_it(self, filled, monkeypatch):
        newer = (*schema.MIGRATIONS, ("SELECT 1",))
        monkeypatch.setattr(cost_report, "Database", lambda url: Database(url, newer))
        said = self.sentence(filled.cost(), 1)
        now = len(schema.MIGRATIONS)
        assert f"version is {now}, and this agentmetrics reads version {now + 1}" in said

    def test_a_server_that_is_away_is_named_without_its_password(self):
        said = self.sentence(run("cost", "--url=postgresql://joe:s3cret@127.0.0.1:1/x"), 1)
        assert "the ledger cannot be read: 'postgresql://joe:***@127.0.0.1:1/x':" in said
        assert "refused" in said

    def test_a_url_that_is_none_is_refused(self):
        assert "this is not a database URL" in self.sentence(run("cost", "--url", "spend.db"), 1)

    def test_a_time_zone_that_is_none_is_refused(self, filled):
        said = self.sentence(filled.cost(AGENTMETRICS_TIMEZONE="Berlin"), 1)
        assert "AGENTMETRICS_TIMEZONE='Berlin': unknown time zone 'Berlin'" in said

    @pytest.mark.parametrize("option", ["--since", "--until"])
    def test_a_date_that_is_none_is_refused(self, filled, option):
        said = self.sentence(filled.cost(option, "last summer"), 2)
        assert f"{option} 'last summer' is not a time: use 2025-11-01, " in said
        said = self.sentence(filled.cost(option, "Yesteday"), 2)
        assert f"{option} 'Yesteday' is not a time: did you mean yesterday?" in said

    def test_a_time_that_ends_before_it_begins_is_refused(self, filled):
        done = filled.cost("--since", "2025-11-02", "--until", "2025-11-01")
        assert self.sentence(done, 2) == (
            "agentmetrics: the time range must end after it begins: it is from 2025-11-02 00:00 "
            "until 2025-11-01 00:00\n"
        )

    @pytest.mark.parametrize(
        "span",
        [["--since", "0001-01-01", "--until", "0001-01-02"], ["--until", "9999-12-31T12:00"]],
    )
    def test_a_time_that_no_calendar_has_is_refused(self, filled, span):
        assert "is outside the years 1 to 9999" in self.sentence(filled.cost(*span), 2)

    def test_csv_and_json_at_once_are_refused(self, filled):
        assert "not both" in self.sentence(filled.cost("--csv", "--json"), 2)

    @pytest.mark.parametrize(
        "others",
        [["--last-month"], ["--period", "month"], ["--since", "2025-11-01"], ["--until", "today"]],
    )
    def test_a_month_and_another_time_at_once_are_refused(self, filled, others):
        assert "use " in self.sentence(filled.cost("--this-month", *others), 2)

    def test_two_steps_at_once_are_refused(self, filled):
        said = self.sentence(filled.cost("--by", "day,month"), 2)
        assert "use one of day, week and month" in said

    def test_a_period_that_is_none_is_refused(self, filled):
        assert filled.cost("--period", "year").exit_code == 2

    def test_without_sqlalchemy_cost_says_what_to_install(self):
        code, _, complaints = in_a_process(
            "cost", lines="sys.modules['sqlalchemy'] = None", AGENTMETRICS_LEDGER_URL="sqlite:///x"
        )
        assert code == 1
        assert "pip install 'llm-agentmetrics[ledger]'" in complaints
        assert complaints.count("\n") == 1


class TestCheck:
    def test_check_says_where_the_ledger_is_and_that_it_can_be_kept(self, tmp_path):
        url = f"sqlite:///{tmp_path}/spend.db"
        done = run("check", AGENTMETRICS_LEDGER_URL=url, COLUMNS="300")
        assert (done.exit_code, done.stderr) == (0, "")
        assert f"writes to {url} every 5 s" in done.stdout
        assert list(tmp_path.iterdir()) == []  # it made none
        Ledger(url).close()
        assert run("check", AGENTMETRICS_LEDGER_URL=url).exit_code == 0

    def test_check_finds_what_is_wrong_with_the_ledger(self, tmp_path):
        for url, reason in (
            (f"sqlite:///{tmp_path}/no/spend.db", f"the directory '{tmp_path}/no' does not exist"),
            (f"sqlite:///{tmp_path}", "this is a directory"),
            ("postgresql://joe:s3cret@127.0.0.1:1/spend", "refused"),
            ("mysql://joe:s3cret@host/spend", "must be SQLite or PostgreSQL"),
        ):
            done = run("check", AGENTMETRICS_LEDGER_URL=url, COLUMNS="300")
            assert done.exit_code == 1
            assert done.stderr.startswith("agentmetrics: AGENTMETRICS_LEDGER_URL='")
            assert reason in done.stderr
            assert done.stderr.count("\n") == 1
            assert "s3cret" not in done.stdout + done.stderr

    def test_check_shows_no_password(self):
        done = run(
            "check", "--json", AGENTMETRICS_LEDGER_URL="postgresql://joe:s3cret@127.0.0.1:1/spend"
        )
        assert "postgresql://joe:***@127.0.0.1:1/spend" in done.stdout
        assert "s3cret" not in done.stdout


class TestBudgets:
    @pytest.mark.parametrize("width", [30, 40, 80])
    def test_budgets_that_check_shows_have_the_names_of_the_file_and_their_amounts(
        self, filled, tmp_path, width
    ):
        path = tmp_path / "budgets.toml"
        path.write_text('[budgets."a[/b]"]\nlimit_usd = 10')
        done = filled.cost(COLUMNS=str(width), AGENTMETRICS_BUDGETS_FILE=str(path))
        assert done.exit_code == 0
        table = done.stdout.partition("Budgets")[2]
        assert re.search(r"a\[/b\] .*10\.000000 +2\.600000", table)
        assert max(map(len, table.splitlines())) <= width


class TestHelp:
    def test_help_names_the_cost_command(self):
        assert "cost" in run("--help").stdout.split()

    @pytest.mark.parametrize("command", [["cost"], ["prices", "show"], ["demo"], ["check"]])
    def test_help_flows_in_paragraphs(self, command):
        said = run(*command, "--help", COLUMNS="200").stdout.partition("╭")[0]
        usage, *paragraphs = lines(said)
        assert usage.startswith("Usage: ")
        assert len(paragraphs) == 2
