"""Forks that no hook of Python's hears of, as uWSGI makes them: with ctypes, into every backend.

Each program records into the ledger, StatsD, Prometheus' files and memory at once; then both its
processes are killed, so that what has arrived was brought by their own threads.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.apps import forking_in_c
from tests.services.statsd import StatsDDaemon, eventually

ROOT = Path(__file__).parents[2]
SECONDS = 60.0


@dataclass
class Family:
    """A parent and its child, alive until they are killed."""

    is_warm: bool
    said: dict[str, Any]
    home: Path
    daemon: StatsDDaemon

    @property
    def expected(self) -> dict[str, float]:
        agents = forking_in_c.CALLS if self.is_warm else ("child",)
        return {agent: float(forking_in_c.CALLS[agent]) for agent in agents}

    def in_ledger(self) -> dict[str, float]:
        return in_ledger(self.home)

    def in_statsd(self) -> dict[str, float]:
        return in_statsd(self.daemon)

    def scraped(self, name: str) -> dict[str, float]:
        return scraped(self.home, name)


def in_ledger(home: Path) -> dict[str, float]:
    with sqlite3.connect(home / "spend.db") as database:
        return dict(
            database.execute("SELECT agent_name, sum(calls) FROM agentmetrics_ledger GROUP BY 1")
        )


def in_statsd(daemon: StatsDDaemon) -> dict[str, float]:
    found = dict.fromkeys(forking_in_c.CALLS, 0.0)
    for name, number in daemon.counters().items():
        agents = found.keys() & name.split(".")
        if "llm_calls_total" in name and agents:
            found[agents.pop()] += number
    return found


def scraped(home: Path, name: str) -> dict[str, float]:
    """A scrape of the directory by somebody else, by agent."""
    program = "import agentmetrics as a; print(a.PrometheusRecorder().exposition().body.decode())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(home), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = {}
    for metric in text_string_to_metric_families(done.stdout):
        for sample in metric.samples:
            if sample.name == name:
                agent = sample.labels["agent_name"]
                found[agent] = found.get(agent, 0.0) + sample.value
    return found


def environment(
    home: Path, daemon: StatsDDaemon | None = None, ledger_seconds: float = 1.5
) -> dict[str, str]:
    chosen = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PROMETHEUS_MULTIPROC_DIR": str(home / "files"),
    }
    if daemon is not None:
        chosen |= {
            "AGENTMETRICS_BACKEND": "statsd,prometheus",
            "AGENTMETRICS_STATSD_HOST": daemon.host,
            "AGENTMETRICS_STATSD_PORT": str(daemon.udp_port),
            "AGENTMETRICS_STATSD_FLUSH_INTERVAL": "1.5",
            "AGENTMETRICS_LEDGER_URL": f"sqlite:///{home}/spend.db",
            "AGENTMETRICS_LEDGER_FLUSH_INTERVAL": str(ledger_seconds),
        }
    return chosen


@contextmanager
def program(
    kind: str, home: Path, daemon: StatsDDaemon, ledger_seconds: float = 1.5
) -> Iterator[dict[str, Any]]:
    (home / "files").mkdir()
    with subprocess.Popen(
        [sys.executable, forking_in_c.__file__, kind],
        env=environment(home, daemon, ledger_seconds),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())


@pytest.fixture(scope="module", params=["cold", "warm"])
def family(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Family]:
    home = tmp_path_factory.mktemp(request.param)
    daemon = StatsDDaemon(home)
    daemon.start()
    with ExitStack() as ending:
        ending.callback(daemon.stop)
        said = ending.enter_context(program(request.param, home, daemon))
        yield Family(request.param == "warm", said, home, daemon)


def test_the_ledger_has_what_each_process_recorded_itself(family: Family) -> None:
    calls = sum(family.expected.values())
    assert eventually(lambda: sum(family.in_ledger().values()) >= calls, SECONDS)
    assert family.in_ledger() == family.expected


def test_statsd_counts_the_calls_of_each_process_once(family: Family) -> None:
    expected = {"parent": 0.0, **family.expected}
    assert eventually(lambda: sum(family.in_statsd().values()) >= sum(expected.values()), SECONDS)
    assert family.in_statsd() == expected


def test_a_scrape_counts_the_calls_of_each_process_once(family: Family) -> None:
    assert family.scraped("llm_calls_total") == family.expected


def test_what_the_parent_has_in_flight_is_not_the_child_s(family: Family) -> None:
    assert family.said["in_flight"] == 0
    expected = {"parent": 1.0} if family.is_warm else {}
    assert eventually(lambda: busy_agents(family) == expected, SECONDS)


def busy_agents(family: Family) -> dict[str, float]:
    found = family.scraped("llm_active_calls")
    return {agent: number for agent, number in found.items() if number}


def test_what_is_read_in_the_process_keeps_its_history(family: Family) -> None:
    assert family.said["in_memory"] == {"parent": 0.0, **family.expected}


def test_the_child_has_threads_of_its_own(family: Family) -> None:
    assert family.said["threads"] > len(("main", "ledger", "StatsD"))


def test_a_fork_while_eight_threads_record_neither_hangs_nor_counts_twice(
    tmp_path: Path, statsd: StatsDDaemon
) -> None:
    # SQLite has locks of its own, which a child cannot renew: nothing is written at a fork here.
    with program("busy", tmp_path, statsd, ledger_seconds=3600.0) as said:
        assert said["codes"] == [0] * forking_in_c.CHILDREN
        of_children = forking_in_c.CHILDREN * forking_in_c.CALLS_OF_A_CHILD
        expected = {"parent": said["parent"], "child": of_children}
        assert scraped(tmp_path, "llm_calls_total") == expected
        assert eventually(lambda: sum(in_statsd(statsd).values()) >= sum(expected.values()))
        assert in_statsd(statsd) == expected
        assert in_ledger(tmp_path) == expected
