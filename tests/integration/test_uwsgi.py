"""uWSGI, which forks in C: every call that a process of its has acknowledged counts once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics import Ledger
from tests.services.process import free_port, running
from tests.services.statsd import StatsDDaemon
from tests.services.webserver import ask, wait_for

ROOT = Path(__file__).parents[2]
BESIDE = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
WORKERS = 2
REQUESTS = 12


def scraped(home: Path, name: str) -> dict[str, float]:
    """A scrape of the directory by somebody else, by agent."""
    program = "import agentmetrics as a; print(a.PrometheusRecorder().exposition().body.decode())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(home / "files")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = {}
    for metric in text_string_to_metric_families(done.stdout):
        for sample in metric.samples:
            if sample.name == name:
                agent = sample.labels["agent_name"]
                found[agent] = found.get(agent, 0.0) + sample.value
    return found


@dataclass
class Server:
    """A master and its two workers."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path
    calls: dict[int, float] = field(default_factory=dict)
    """What each worker says that it has counted."""
    answers: dict[int, int] = field(default_factory=dict)
    """How many requests each worker has answered."""

    def get(self, path: str = "/call") -> dict[str, Any]:
        status, body = ask(self.port, "GET", path)
        assert status == 200, body
        answer: dict[str, Any] = json.loads(body)
        if path == "/call":
            pid = answer["pid"]
            self.calls[pid] = answer["calls"]
            self.answers[pid] = self.answers.get(pid, 0) + 1
        return answer

    def load(self) -> None:
        """Requests until both workers have answered some."""
        done = 0
        while done < REQUESTS or len(self.answers) < WORKERS:
            assert done < 1000, self.answers
            self.get()
            done += 1

    @property
    def acknowledged(self) -> int:
        return (self.home / "acknowledged").stat().st_size

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(60)

    def in_ledger(self) -> int:
        with Ledger(f"sqlite:///{self.home}/spend.db") as ledger:
            return ledger.summary().total.calls


@contextmanager
def on_uwsgi(home: Path, daemon: StatsDDaemon, *options: str) -> Iterator[Server]:
    uwsgi = shutil.which("uwsgi", path=BESIDE)
    assert uwsgi, "uWSGI is not installed: pip install pyuwsgi"
    port = free_port()
    lines = (
        *("[uwsgi]", f"http-socket = 127.0.0.1:{port}"),
        *("module = tests.integration.apps.uwsgi_app", "need-app = true", "master = true"),
        *(f"processes = {WORKERS}", *options),
    )
    (home / "uwsgi.ini").write_text("\n".join(lines) + "\n")
    (home / "files").mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "HOME": str(home),
        "ACKNOWLEDGED": str(home / "acknowledged"),
        "PROMETHEUS_MULTIPROC_DIR": str(home / "files"),
        "AGENTMETRICS_BACKEND": "statsd,prometheus",
        "AGENTMETRICS_STATSD_HOST": daemon.host,
        "AGENTMETRICS_STATSD_PORT": str(daemon.udp_port),
        "AGENTMETRICS_STATSD_FLUSH_INTERVAL": "0.1",
        "AGENTMETRICS_LEDGER_URL": f"sqlite:///{home}/spend.db",
    }
    command = [uwsgi, "--ini", str(home / "uwsgi.ini")]
    with running(command, port=port, log=home / "uwsgi.log", env=env, cwd=ROOT) as process:
        yield Server(process, port, home)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatsDDaemon]:
    daemon = StatsDDaemon(tmp_path_factory.mktemp("statsd"))
    daemon.start()
    yield daemon
    daemon.stop()


KINDS = {
    "four threads in each worker": (signal.SIGQUIT, "threads = 4"),
    "Python's hooks": (signal.SIGINT, "py-call-uwsgi-fork-hooks = true"),
    "killed": (signal.SIGKILL, "no-orphans = true"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_acknowledged_call_is_in_the_ledger_once(
    kind: str, tmp_path: Path, daemon: StatsDDaemon
) -> None:
    end, option = KINDS[kind]
    before = sum(n for name, n in daemon.counters().items() if "llm_calls_total" in name)
    with on_uwsgi(tmp_path, daemon, option) as server:
        server.load()
        for pid, answered in server.answers.items():
            assert server.calls[pid] == answered + 1  # the one at the import
        answer = server.get("/")
        assert "agentmetrics-flush" in answer["threads"]
        # A worker that is forked while a thread of the master runs may never answer.
        assert answer["threads_at_import"] == ["MainThread"]
        server.end(end)
        wait_for(lambda: all(is_over(pid) for pid in server.answers), 60)
        assert server.in_ledger() == server.acknowledged
        assert sum(scraped(tmp_path, "llm_calls_total").values()) == server.acknowledged
        after = sum(n for name, n in daemon.counters().items() if "llm_calls_total" in name)
        assert after - before <= server.acknowledged


def is_over(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_reload_loses_no_call(tmp_path: Path, daemon: StatsDDaemon) -> None:
    with on_uwsgi(tmp_path, daemon) as server:
        server.load()
        old = set(server.answers)
        server.process.send_signal(signal.SIGTERM)  # which ends the workers at once
        wait_for(lambda: all(is_over(pid) for pid in old), 60)
        server.answers.clear()
        server.load()
        assert old.isdisjoint(server.answers)
        server.end(signal.SIGINT)
        assert server.in_ledger() == server.acknowledged
