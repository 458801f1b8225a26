"""Where programs run that end: all four kinds of metrics set up, and what is in each afterwards."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

from agentmetrics import Budget, Budgets, Ledger, MemoryRecorder
from agentmetrics.backends.multiprocess import MultiprocessCollector
from tests.ends.programs.calls import AGENT
from tests.services.process import free_port, group, members, wait_for_port, without_ours
from tests.services.statsd import StatsDDaemon
from tests.services.webserver import ask, wait_for

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
"""How long anything may take, on a machine with much else to do."""
LONG_SECONDS = "600"
"""Between two flushes: what is kept was kept by the end, and not by a flush that came before it."""
LIMIT_USD = 1000
NANO_USD_PER_CALL = 750_000
"""1000 input tokens and 1000 output tokens of gpt-4o-mini."""


class Kept(NamedTuple):
    """How many calls had finished, and how many of them are in each."""

    finished: int
    written: int
    """In the ledger's database, as the end has left it."""
    ledger: int
    """In the ledger, once somebody has opened it."""
    statsd: int
    prometheus: int
    budgets: int
    in_flight: int
    """Calls that Prometheus shows in flight, though nobody lives who could end them."""


class Place:
    """A directory with a ledger, a budget and files of Prometheus, and a prefix in StatsD."""

    def __init__(self, directory: Path, statsd: StatsDDaemon, broker: Callable[[], str]) -> None:
        self._directory, self._statsd, self._broker = directory, statsd, broker
        self._prefix = f"p{directory.stat().st_ino}"
        self._files = directory / "prometheus"
        self._files.mkdir()
        self._acknowledged = directory / "acknowledged"
        self.log = directory / "log"
        self._file = directory / "spend.db"
        self.url = f"sqlite:///{self._file}"
        budgets = directory / "budgets.toml"
        budgets.write_text(f'[budgets.ends]\nlimit_usd = {LIMIT_USD}\nperiod = "monthly"\n')
        self._env = {
            "AGENTMETRICS_BACKEND": "prometheus,statsd",
            "AGENTMETRICS_BUDGETS_FILE": str(budgets),
            "AGENTMETRICS_LEDGER_FLUSH_INTERVAL": LONG_SECONDS,
            "AGENTMETRICS_LEDGER_URL": self.url,
            "AGENTMETRICS_STATSD_FLUSH_INTERVAL": LONG_SECONDS,
            "AGENTMETRICS_STATSD_HOST": statsd.host,
            "AGENTMETRICS_STATSD_PORT": str(statsd.udp_port),
            "AGENTMETRICS_STATSD_PREFIX": self._prefix,
            "ENDS_ACKNOWLEDGED": str(self._acknowledged),
            "HOME": str(directory),  # where gunicorn has a socket
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PROMETHEUS_MULTIPROC_DIR": str(self._files),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        }

    @property
    def broker(self) -> str:
        """The URL of a Redis with nothing in it."""
        return self._broker()

    @contextmanager
    def running(
        self, *command: str, env: Mapping[str, str] = {}
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A program in a group of its own, of which nothing lives when this is over."""
        env = {**without_ours(os.environ), **self._env, **env}
        with group(command, log=self.log, env=env, cwd=self._directory) as process:
            yield process

    def run(self, *command: str, status: int = 0) -> None:
        """A program until its end."""
        with self.running(*command) as process:
            self.until_ended(process, status)

    def until_ended(self, process: subprocess.Popen[bytes], status: int = 0) -> None:
        """Wait for it, and for all that it has started."""
        assert process.wait(SECONDS) == status, self.log.read_text()
        wait_for(lambda: not members(process), SECONDS)

    def stop(self, process: subprocess.Popen[bytes], how: signal.Signals, status: int = 0) -> None:
        process.send_signal(how)
        self.until_ended(process, status)

    @contextmanager
    def serving(self, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """A server, whose port is what ``PORT`` in the command becomes."""
        port = free_port()
        here = (word.replace("PORT", str(port)) for word in command)
        with self.running(*here) as process:
            wait_for_port(port, process, SECONDS)
            yield process, port

    def request(self, port: int, calls: int) -> None:
        """So many calls, one after the other."""
        for _ in range(calls):
            assert ask(port, "GET", "/call") == (200, b"ok")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody can write to the ledger meanwhile."""
        with closing(sqlite3.connect(self._file, isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 20000")
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("COMMIT")

    def until_ready(self, process: subprocess.Popen[bytes]) -> None:
        self._until(process, lambda: b"ready" in self.log.read_bytes())

    def until_acknowledged(self, process: subprocess.Popen[bytes], calls: int) -> None:
        self._until(process, lambda: self._finished() >= calls)

    def _until(self, process: subprocess.Popen[bytes], holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def workers(self, process: subprocess.Popen[bytes]) -> set[int]:
        """The process ids of what a server has started."""
        return members(process) - {process.pid}

    def in_flight(self) -> int:
        return self._prometheus("llm_active_calls")

    def _finished(self) -> int:
        return self._acknowledged.stat().st_size if self._acknowledged.exists() else 0

    def kept(self) -> Kept:
        """What is there after the end, for those who come later."""
        written = self._written()
        since = datetime.now(timezone.utc) - timedelta(days=1)
        with Ledger(self.url) as ledger:
            told = ledger.summary("daily", by=["agent_name", "status"], since=since)
            done = [
                group.amounts
                for group in told.groups
                if group.labels == {"agent_name": AGENT, "status": "success"}
            ]
            spent = self._spent(ledger)
        calls = sum(amounts.calls for amounts in done)
        assert sum(amounts.cost_nano_usd for amounts in done) == calls * NANO_USD_PER_CALL
        return Kept(
            self._finished(),
            written,
            calls,
            self._sent(),
            self._prometheus("llm_calls_total", status="success"),
            spent,
            self.in_flight(),
        )

    def _written(self) -> int:
        """What is in the database, which is opened by nobody who knows of spools."""
        query = (
            "SELECT coalesce(sum(calls), 0) FROM agentmetrics_ledger "
            "WHERE agent_name = ? AND status = 'success'"
        )
        with closing(sqlite3.connect(self._file)) as database:
            return int(database.execute(query, (AGENT,)).fetchone()[0])

    def _spent(self, ledger: Ledger) -> int:
        """What a budget of a new process knows of, in calls."""
        budget = Budget("ends", limit_usd=LIMIT_USD, period="monthly")
        budgets = Budgets([budget], MemoryRecorder(), ledger=ledger)
        budgets.load()
        (status,) = budgets.status()
        budgets.close()
        return round(status.spent_usd * 1e9 / NANO_USD_PER_CALL)

    def _prometheus(self, name: str, **labels: str) -> int:
        samples = (
            sample
            for family in MultiprocessCollector(str(self._files)).collect()
            for sample in family.samples
        )
        return round(
            sum(
                sample.value
                for sample in samples
                if sample.name == name and labels.items() <= sample.labels.items()
            )
        )

    def _sent(self) -> int:
        """What has arrived, once a packet of ours has that was sent later."""
        last = f"{self._prefix}-last"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(f"{last}:1|c".encode(), (self._statsd.host, self._statsd.udp_port))
        wait_for(lambda: last in self._statsd.counters(), SECONDS)
        calls, end = f"{self._prefix}.llm_calls_total.{AGENT}.", ".success"
        return round(
            sum(
                value
                for name, value in self._statsd.counters().items()
                if name.startswith(calls) and name.endswith(end)
            )
        )


def python(module: str, *arguments: str) -> Sequence[str]:
    """The command of a module on this Python."""
    return (sys.executable, "-W", "ignore::DeprecationWarning", "-m", module, *arguments)
