"""Workers that are forked from one program: their pools add up, and a killed one's vanishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

HELD = (1, 2, 3)
"""How many connections each worker holds."""

# As gunicorn does it with --preload: what is imported uses the database, then workers are forked.
PROGRAM = """
import json, os, signal, sys
from contextlib import ExitStack
from sqlalchemy import create_engine, text
from agentmetrics import PrometheusRecorder, get_recorder
from agentmetrics_sqlalchemy import instrument_engine

engine = create_engine(sys.argv[1], pool_size=2, max_overflow=2)
instrument_engine(engine, pool="main")
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))

def work(count):
    engine.dispose(close=False)
    with ExitStack() as held:
        for _ in range(count):
            held.enter_context(engine.connect()).execute(text("SELECT 1"))
        get_recorder().flush()
        os.write(1, f"{os.getpid()}\\n".encode())  # in one piece
        signal.pause()

workers = []
for count in json.loads(sys.argv[2]):
    pid = os.fork()
    if pid == 0:
        work(count)
    workers.append(pid)
for line in sys.stdin:
    print(json.dumps(get_recorder().exposition().body.decode()), flush=True)
for pid in workers:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


class Workers:
    """The program, its workers, and what a scrape of it answers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pids = [int(self._line()) for _ in HELD]

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def scrape(self) -> dict[str, float]:
        """The samples of the database, without buckets."""
        assert self._process.stdin is not None
        self._process.stdin.write("scrape\n")
        self._process.stdin.flush()
        lines = json.loads(self._line()).splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line.startswith("db_"))
        return {name: float(value) for name, value in samples if "_bucket" not in name}


@contextmanager
def working(url: str, directory: Path) -> Iterator[Workers]:
    directory.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, json.dumps(HELD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(directory),
            "AGENTMETRICS_BACKEND": "prometheus",
        },
    )
    try:
        yield Workers(process)
    finally:
        process.communicate(timeout=20)


@pytest.mark.usefixtures("postgres_server")
def test_pools_of_workers_add_up_and_a_killed_one_vanishes(
    postgres: Callable[[], str], tmp_path: Path
) -> None:
    url = postgres()
    with working(url.replace("://", "+psycopg://"), tmp_path / "files") as workers:
        seen = workers.scrape()
        assert seen['db_connections_active{pool="main"}'] == sum(HELD)
        assert seen['db_connections_idle{pool="main"}'] == 1  # of the program itself
        assert seen['db_connections_max{pool="main"}'] == 4 * (1 + len(HELD))
        assert seen['db_queries_total{operation="select"}'] == 1 + sum(HELD)
        with psycopg.connect(url) as connection:
            answer = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchone()
        assert answer == (sum(HELD) + 1,)

        os.kill(workers.pids[0], signal.SIGKILL)
        while workers.scrape() == seen:
            pass
        left = workers.scrape()
        gone = (
            seen['db_connections_active{pool="main"}'] - left['db_connections_active{pool="main"}']
        )
        assert gone in HELD
        assert left['db_connections_max{pool="main"}'] == 4 * len(HELD)
        assert left['db_connections_idle{pool="main"}'] == 1
        assert left['db_queries_total{operation="select"}'] == 1 + sum(HELD)
