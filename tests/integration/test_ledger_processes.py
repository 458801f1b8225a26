"""Eight processes write 100 000 calls; some are killed, and the database goes away meanwhile."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest

from agentmetrics import Ledger
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.tally import Amounts
from tests.integration.apps import spending
from tests.services.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
PROCESSES = 8
CALLS = 100_000
# Of gpt-4o-mini: 0.15 USD a million input tokens, 0.60 output.
NANO_USD_PER_INPUT, NANO_USD_PER_OUTPUT = 150, 600


@dataclass(frozen=True)
class Made:
    """What one process wrote down itself."""

    calls: int
    flushed: int
    was_killed: bool
    metrics_usd: float | None


class Fleet:
    """The processes, and what each has made."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url, self._directory = url, directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._killed: set[str] = set()

    def start(self, agent: str, calls: int) -> None:
        self._running[agent] = subprocess.Popen(
            [sys.executable, spending.__file__, self._url, agent, str(calls), self._directory],
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        )

    def made(self, agent: str) -> int:
        path = self._directory / f"{agent}.made"
        return path.stat().st_size if path.exists() else 0

    def wait_for(self, agent: str, calls: int) -> None:
        while self.made(agent) < calls:
            assert self._running[agent].poll() is None, f"{agent} ended at {self.made(agent)}"
            time.sleep(0.01)

    def kill(self, agent: str) -> None:
        """Kill it in the middle of its work, and let another one make the calls that it has not."""
        process = self._running.pop(agent)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        self._killed.add(agent)
        self.start(f"{agent}'s heir", CALLS // PROCESSES - self.made(agent))

    def finished(self) -> dict[str, Made]:
        """What each of them made, once all have ended."""
        for agent, process in self._running.items():
            assert process.wait(60) == 0, agent
        return {path.stem: self._read(path.stem) for path in self._directory.glob("*.made")}

    def _read(self, agent: str) -> Made:
        flushed = self._directory / f"{agent}.flushed"
        metrics = self._directory / f"{agent}.metrics"
        return Made(
            self.made(agent),
            int(flushed.read_text()) if flushed.exists() else 0,
            agent in self._killed,
            float(metrics.read_text()) if metrics.exists() else None,
        )

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def restarts(server: PostgresServer) -> Iterator[Callable[[], None]]:
    """What is done to PostgreSQL in turn: twice an orderly restart, then a crash."""
    yield server.restart
    yield server.restart
    yield lambda: server.restart(signal.SIGQUIT)


def locks(url: str) -> Iterator[Callable[[], None]]:
    """What is done to SQLite, which knows no restart: another program locks everybody out."""

    def lock() -> None:
        with sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None) as other:
            other.execute("PRAGMA busy_timeout = 20000")
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(0.5)
            other.execute("COMMIT")
        other.close()

    return iter([lock] * 3)


@dataclass(frozen=True)
class Outcome:
    """What was made, and what the ledger has, by process."""

    made: dict[str, Made]
    written: dict[str, Amounts]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    directory = tmp_path_factory.mktemp("spending")
    if request.param == "sqlite":
        url = f"sqlite:///{directory / 'spend.db'}"
        troubles = locks(url)
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.new_database()
        troubles = restarts(server)
    fleet = Fleet(url, directory)
    try:
        for number in range(PROCESSES):
            fleet.start(f"agent {number}", CALLS // PROCESSES)
        for number, calls in ((0, 2500), (1, 5000), (2, 7500)):
            fleet.wait_for(f"agent {number}", calls)
            next(troubles)()
            fleet.wait_for(f"agent {number}", calls + 700)
            fleet.kill(f"agent {number}")
        made = fleet.finished()
    finally:
        fleet.stop()
    Ledger(url).close()  # which takes up what the killed ones have left
    with Database(url).snapshot() as snapshot:
        rows = snapshot.amounts(0, 2**40, ["agent_name"])
    return Outcome(made, dict(rows))


def cost_nano_usd(calls: int) -> int:
    """Of the first calls of a process, the n-th of which has n input tokens."""
    return NANO_USD_PER_INPUT * calls * (calls + 1) // 2 + NANO_USD_PER_OUTPUT * calls


class TestAFleetWithKillsAndADatabaseThatGoesAway:
    def test_the_fleet_made_all_its_calls_for_the_most_part_in_order(
        self, outcome: Outcome
    ) -> None:
        killed = [made for made in outcome.made.values() if made.was_killed]
        assert sum(made.calls for made in outcome.made.values()) == CALLS
        assert len(outcome.made) == PROCESSES + 3
        assert [made.calls < CALLS // PROCESSES for made in killed] == [True] * 3
        assert sum(made.flushed > 0 for made in killed) >= 2

    def test_the_ledger_lacks_nothing_of_the_processes_that_ended_in_order(
        self, outcome: Outcome
    ) -> None:
        for agent, made in outcome.made.items():
            if not made.was_killed:
                assert outcome.written[agent].calls == made.calls
                assert outcome.written[agent].cost_nano_usd == cost_nano_usd(made.calls)

    def test_the_ledger_lacks_nothing_of_the_killed_ones(self, outcome: Outcome) -> None:
        for agent, made in outcome.made.items():
            if made.was_killed:
                # One call may have ended that the process had no time to write down.
                assert made.calls <= outcome.written[agent].calls <= made.calls + 1

    def test_the_ledger_has_of_every_process_exactly_its_first_calls(
        self, outcome: Outcome
    ) -> None:
        sums = list(accumulate(range(CALLS // PROCESSES + 2)))
        assert set(outcome.written) <= set(outcome.made)
        for agent, written in outcome.written.items():
            assert written == Amounts(
                calls=written.calls,
                input_tokens=sums[written.calls],
                output_tokens=written.calls,
                cost_nano_usd=cost_nano_usd(written.calls),
            ), agent

    def test_the_ledger_agrees_with_the_metrics_to_the_nano_dollar(self, outcome: Outcome) -> None:
        told = {a: m.metrics_usd for a, m in outcome.made.items() if m.metrics_usd is not None}
        assert len(told) == PROCESSES
        for agent, usd in told.items():
            assert round(usd * 1e9) == outcome.written[agent].cost_nano_usd
