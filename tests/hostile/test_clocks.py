"""Clocks that somebody moves: a day on and back, to 1970 and 2100, and one that stands still.

libfaketime moves the clock of a real program while its calls are open.
"""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.programs import clocked
from tests.services.driven import NANO_USD_PER_CALL, Drive, Driven
from tests.services.faketime import Clock

NOW = "+0"
MOVES = (
    "@1970-01-01 00:00:10",
    "@2100-01-01 00:00:00",
    "-1d",
    "2026-03-01 12:00:00",  # it stands still
    "+1d",
)
ROUNDS = times(short=1, whole=20)
MANY = 50


class Moved:
    """A program, its clock, and what it should have in its ledger."""

    def __init__(self, drive: Drive, directory: Path) -> None:
        self.clock = Clock(directory / "clock")
        self.file, self._drive, self._spool = directory / "spend.db", drive, directory / "spool"
        self.made = 0
        self.program = self.start()

    def start(self) -> Driven:
        url = f"sqlite:///{self.file}"
        return self._drive(url, self._spool, program=clocked.__file__, **self.clock.env)

    def calls(self, many: int = MANY) -> None:
        self.program.calls(many)
        self.made += many

    def move_under_open_calls(self, how: str) -> None:
        assert self.program.tell(f"open {MANY}") == "opened"
        self.clock.set(how)
        self.calls()
        assert self.program.tell("finish") == "finished"
        self.made += MANY
        assert json.loads(self.program.tell("strange")) == []

    def in_ledger(self) -> int:
        """The calls in the file itself, of whatever time; what they cost is right."""
        with closing(sqlite3.connect(self.file)) as connection:
            sums = "SELECT sum(calls), sum(cost_nano_usd) FROM agentmetrics_ledger"
            calls, cost = connection.execute(sums).fetchone()
        assert cost == calls * NANO_USD_PER_CALL
        return int(calls)

    def by_day(self) -> dict[str, int]:
        with closing(sqlite3.connect(self.file)) as connection:
            return dict(
                connection.execute(
                    "SELECT date(bucket, 'unixepoch'), sum(calls) FROM agentmetrics_ledger "
                    "GROUP BY 1"
                )
            )

    def assert_all_there(self) -> None:
        """Nothing is lost and nothing there twice, and the program said nothing went wrong."""
        assert self.program.flush(), self.program.log
        assert self.program.lost() == {}
        assert self.in_ledger() == self.made
        assert "failed" not in self.program.log, self.program.log


@pytest.fixture
def moved(drive: Drive, tmp_path: Path) -> Moved:
    made = Moved(drive, tmp_path)
    made.calls()
    assert made.program.flush()
    return made


def test_a_clock_that_jumps_under_open_calls_changes_no_sum(moved: Moved, proves: Proves) -> None:
    for _ in range(ROUNDS):
        for how in MOVES:
            moved.move_under_open_calls(how)
            moved.move_under_open_calls(NOW)
    moved.assert_all_there()
    jumps = 2 * ROUNDS * len(MOVES)
    proves(
        f"{jumps:,} jumps of a day, to 1970, to 2100, to a moment that stays, and back; each under "
        f"{MANY} of {moved.made:,} calls",
        f"0 raised, 0 negative durations, 0 budgets in another day than their clock's; "
        f"{moved.made:,} of {moved.made:,} calls in the ledger, once",
    )


def test_what_a_program_with_one_clock_leaves_is_taken_up_by_one_with_another(
    moved: Moved, proves: Proves
) -> None:
    moves = [*MOVES, NOW] * times(short=1, whole=2)
    for how in moves:
        with closing(sqlite3.connect(moved.file, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            moved.calls()
            moved.program.kill()
        moved.clock.set(how)
        moved.program = moved.start()
        moved.calls()
        moved.assert_all_there()
    left = len(moves) * MANY
    proves(
        f"{len(moves)} programs that are killed with {MANY} calls in the spool, and one more, with "
        "clocks as above",
        f"0 lost, {left:,} of {left:,} calls taken up, once",
    )


def test_a_day_that_turns_back_and_forth_has_the_calls_of_that_day_in_budget_and_ledger(
    moved: Moved, proves: Proves
) -> None:
    days = {"2026-03-01": "2026-03-01 23:59:59", "2026-03-02": "2026-03-02 00:00:01"}
    expected = dict.fromkeys(days, 0)
    turns = 2 * ROUNDS
    for turn in range(turns):
        day = list(days)[turn % 2]
        moved.clock.set(days[day])
        many = random.randint(1, MANY)
        moved.calls(many)
        expected[day] += many
        spent = float(moved.program.tell("spent"))
        assert spent == pytest.approx(expected[day] * NANO_USD_PER_CALL / 1e9)
    moved.assert_all_there()
    found = moved.by_day()
    assert {day: found[day] for day in days} == expected
    proves(
        f"{turns} midnights, one after the other and back, with {sum(expected.values()):,} calls",
        f"{sum(expected.values()):,} of {sum(expected.values()):,} calls in the day of their end, "
        "in the budget at once and in the ledger",
    )
