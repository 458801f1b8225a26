"""Every ordinary end of a process flushes: the ledger and a StatsD daemon have each call that has
returned, and no call is in flight there any more.

Flushes by interval are an hour apart, so what arrives is of the end. All programs run at once.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.apps import ending
from tests.services.process import free_port, running
from tests.services.statsd import StatsDDaemon, eventually

ROOT = Path(__file__).parents[2]
SECONDS = 60.0

TERMINATED = {
    "sleeps": -signal.SIGTERM,
    "is_in_a_call": -signal.SIGTERM,
    "is_busy_with_calls": -signal.SIGTERM,
    "is_at_its_deepest": -signal.SIGTERM,
    "runs_asyncio": -signal.SIGTERM,
    "runs_trio": -signal.SIGTERM,
    "had_a_handler": -signal.SIGTERM,
    "forks": -signal.SIGTERM,
    "has_a_handler": 7,
}
"""Programs that are sent SIGTERM, and how each ends."""
BY_ITSELF = {"kills_itself": -signal.SIGTERM, "ignores_it": 0, "fails": 3, "exits": 0}
METHODS = ("fork", "spawn")
"""Those of a forkserver are among the ends of tests/ends."""
PARENTS = {f"has_children:{method}": 0 for method in METHODS}
CHILDREN = ("process", "thread", "leaves", "terminated", "pool", "recycled", "executor")


@dataclass(frozen=True)
class Ended:
    """What one program has left behind."""

    code: int
    acknowledged: int
    kept: Mapping[tuple[str, str], int]
    """The calls in its ledger, by agent and status."""
    printed: str
    is_ready: bool


class Programs:
    """The programs, each with a ledger and a name at the daemon of its own."""

    def __init__(self, directory: Path, daemon: StatsDDaemon) -> None:
        self._directory, self._daemon = directory, daemon
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def directory(self, how: str) -> Path:
        return self._directory / how.replace(":", "-")

    def environment(self, how: str) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "AGENTMETRICS_BACKEND": "statsd",
            "AGENTMETRICS_STATSD_HOST": self._daemon.host,
            # Not UDP: so many at once overflow what a busy machine keeps for the daemon.
            "AGENTMETRICS_STATSD_PROTOCOL": "tcp",
            "AGENTMETRICS_STATSD_PORT": str(self._daemon.tcp_port),
            "AGENTMETRICS_STATSD_PREFIX": prefix(how),
            "AGENTMETRICS_STATSD_FLUSH_INTERVAL": "3600",
            "AGENTMETRICS_LEDGER_URL": f"sqlite:///{self.directory(how)}/spend.db",
            "AGENTMETRICS_LEDGER_FLUSH_INTERVAL": "3600",
        }

    def start(self, how: str, **more: str) -> None:
        directory = self.directory(how)
        directory.mkdir()
        with (directory / "printed").open("wb") as printed:
            self._running[how] = subprocess.Popen(
                [sys.executable, ending.__file__, how, str(directory)],
                env={**self.environment(how), **more, "PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=printed,
                stderr=printed,
            )

    def terminate(self, how: str) -> None:
        """Send SIGTERM, once the program waits for it."""
        ready = self.directory(how) / "ready"
        process = self._running[how]
        assert eventually(lambda: ready.exists() or process.poll() is not None, SECONDS)
        process.send_signal(signal.SIGTERM)

    def ended(self, how: str) -> Ended:
        code = self._running[how].wait(SECONDS)
        directory = self.directory(how)
        return Ended(
            code,
            (directory / "acknowledged").stat().st_size,
            kept(directory / "spend.db"),
            (directory / "printed").read_text(),
            (directory / "ready").exists(),
        )

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def prefix(how: str) -> str:
    return how.replace(":", "_")


def kept(file: Path) -> dict[tuple[str, str], int]:
    if not file.exists():
        return {}
    with closing(sqlite3.connect(file)) as ledger:
        rows = ledger.execute(
            "SELECT agent_name, status, sum(calls) FROM agentmetrics_ledger GROUP BY 1, 2"
        )
        return {(agent, status): calls for agent, status, calls in rows}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatsDDaemon]:
    daemon = StatsDDaemon(tmp_path_factory.mktemp("statsd"))
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, daemon: StatsDDaemon
) -> Iterator[Mapping[str, Ended]]:
    programs = Programs(tmp_path_factory.mktemp("ends"), daemon)
    try:
        for how in (*PARENTS, *TERMINATED, *BY_ITSELF):
            programs.start(how)
        for how in TERMINATED:
            programs.terminate(how)
        yield {how: programs.ended(how) for how in (*TERMINATED, *BY_ITSELF, *PARENTS)}
    finally:
        programs.stop()


ALL = {**TERMINATED, **BY_ITSELF, **PARENTS}


@pytest.mark.parametrize("how", ALL)
def test_a_process_ends_as_it_would_without_metrics(ended, how: str) -> None:
    assert (ended[how].code, ended[how].printed) == (ALL[how], "")
    assert ended[how].is_ready == (how in TERMINATED)


@pytest.mark.parametrize("how", ALL)
def test_the_ledger_has_each_call_that_has_returned(ended, how: str) -> None:
    succeeded = sum(n for (_, status), n in ended[how].kept.items() if status == "success")
    # A program that is stopped between a call's end and its note has made one more.
    more = {0, 1} if how == "is_busy_with_calls" else {0}
    assert ended[how].acknowledged >= ending.CALLS
    assert succeeded - ended[how].acknowledged in more


@pytest.mark.parametrize("how", ALL)
def test_the_statsd_daemon_has_each_call_and_none_in_flight(ended, daemon, how: str) -> None:
    made = sum(ended[how].kept.values())

    def counted() -> float:
        counters = daemon.counters().items()
        return sum(n for name, n in counters if name.startswith(f"{prefix(how)}.llm_calls_total."))

    assert eventually(lambda: counted() >= made)
    assert counted() == made
    active = f"{prefix(how)}.llm_active_calls."
    in_flight = {n: value for n, value in daemon.gauges().items() if n.startswith(active)}
    assert in_flight
    assert set(in_flight.values()) == {0.0}


def test_a_call_that_is_cut_off_is_cancelled(ended) -> None:
    kept = ended["is_in_a_call"].kept
    assert kept == {("main", "success"): ending.CALLS, ("main", "cancelled"): 1}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("child", CHILDREN)
def test_every_child_of_multiprocessing_flushes(ended, method: str, child: str) -> None:
    calls = {"thread": 2 * ending.CALLS, "recycled": 2}.get(child, ending.CALLS)
    assert ended[f"has_children:{method}"].kept[child, "success"] == calls


@pytest.mark.parametrize("how", ["sleeps", "fails"])
def test_nothing_is_flushed_where_that_is_left_to_the_program(how: str, daemon, tmp_path) -> None:
    programs = Programs(tmp_path, daemon)
    try:
        programs.start(how, AGENTMETRICS_FLUSH_AT_EXIT="off", AGENTMETRICS_STATSD_PREFIX="off")
        if how == "sleeps":
            programs.terminate(how)
        ended = programs.ended(how)
    finally:
        programs.stop()
    assert ended == Ended(ALL[how], ending.CALLS, {}, "", is_ready=how == "sleeps")
    assert not [name for name in daemon.counters() if name.startswith("off.")]


SERVERS = {
    "uvicorn": ["-m", "uvicorn", "--port", "{port}", "--lifespan", "off"],
    "uvicorn under gunicorn": [
        "-m", "gunicorn", "-b", "127.0.0.1:{port}", "-k", "uvicorn.workers.UvicornWorker",
    ],
}  # fmt: skip


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_flushes_that_raises_sigterm_again(server: str, daemon, tmp_path: Path) -> None:
    programs = Programs(tmp_path, daemon)
    how, port = server.replace(" ", "_"), free_port()
    programs.directory(how).mkdir()
    arguments = [argument.format(port=port) for argument in SERVERS[server]]
    command = [sys.executable, *arguments, "tests.integration.apps.ending_asgi:app"]
    env = {**programs.environment(how), "PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:
        log = tmp_path / "log"
        process = stack.enter_context(running(command, port=port, log=log, env=env, cwd=ROOT))
        answered = 0
        deadline = time.monotonic() + SECONDS
        while answered < ending.CALLS:
            assert time.monotonic() < deadline, log.read_text()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                answered += answer.status == 200
        process.send_signal(signal.SIGTERM)
        code = process.wait(SECONDS)
    assert code == (-signal.SIGTERM if server == "uvicorn" else 0), log.read_text()
    assert kept(programs.directory(how) / "spend.db") == {("main", "success"): answered}

    def counted() -> float:
        counters = daemon.counters().items()
        return sum(n for name, n in counters if name.startswith(f"{how}.llm_calls_total."))

    assert eventually(lambda: counted() == answered)


def test_children_that_are_ended_as_soon_as_they_are_made_end(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, signal, sys, time
        from agentmetrics import MemoryRecorder, configure, track_call

        configure(MemoryRecorder(), ledger_url=sys.argv[1])
        with track_call("openai", "gpt-4o") as call:
            call.record_usage(1, 1)
        signal.alarm(60)
        ends = set()
        for _ in range(100):
            child = os.fork()
            if not child:
                time.sleep(600)
            os.kill(child, signal.SIGTERM)
            ends.add(os.waitpid(child, 0)[1])
        print(ends)
    """)
    url = f"sqlite:///{tmp_path}/spend.db"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, url], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"{{{int(signal.SIGTERM)}}}\n"), done.stderr
