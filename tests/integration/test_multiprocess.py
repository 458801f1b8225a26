"""Several processes: gunicorn's workers, one of which is killed under load, and plain forks."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.apps import forking
from tests.services.process import free_port, running
from tests.services.prometheus import PrometheusServer

ROOT = Path(__file__).parents[2]
WORKERS = 4
CLIENTS = 6
CALLS = 600
SLOW = 2000


@dataclass
class Server:
    """gunicorn with four workers, and the directories that they share."""

    port: int
    ledgers: Path
    files: Path
    preloads: bool
    answered: int = 0
    killed: int = 0

    def get(self, path: str, seconds: float = 10.0) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status == 200, (path, response.status)
            return body
        finally:
            connection.close()

    def load(self, calls: range) -> None:
        """One call a number, which is also the tokens it bills; from several clients at once."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            for answer in clients.map(lambda n: self.get(f"/call?{n}"), calls):
                assert answer == "ok"
                self.answered += 1

    def finished(self) -> Counter[int]:
        """What the workers' ledgers say: the tokens of every call that has ended."""
        ledgers = self.ledgers.glob("*.ledger")
        return Counter(int(line) for path in ledgers for line in path.read_text().split())


def total(exposition: str, sample_name: str, **labels: str) -> float:
    """The sum over the samples of this name that have these labels."""
    samples = [
        sample
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == sample_name and labels.items() <= sample.labels.items()
    ]
    assert samples, f"no sample of {sample_name} {labels}"
    return sum(sample.value for sample in samples)


def in_flight(server: Server) -> float:
    """What ``llm_active_calls`` says; workers write it within a second."""
    metrics = server.get("/metrics")
    return total(metrics, "llm_active_calls") if "llm_active_calls{" in metrics else 0.0


def oldest(server: Server) -> float:
    return total(server.get("/metrics"), "llm_oldest_active_call_seconds")


def wait_for(holds: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.01)


@pytest.fixture(scope="module", params=[[], ["--preload"]], ids=["plain", "preload"])
def gunicorn(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("gunicorn")
    server = Server(free_port(), home / "ledgers", home / "files", bool(request.param))
    server.ledgers.mkdir()
    server.files.mkdir()
    command = [
        sys.executable,
        *("-m", "gunicorn", *request.param),
        *(f"--workers={WORKERS}", "--worker-class=sync", f"--bind=127.0.0.1:{server.port}"),
        *("--timeout=50", "--graceful-timeout=2", f"--worker-tmp-dir={home}"),
        "tests.integration.apps.gunicorn_app:app",
    ]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "LEDGERS": str(server.ledgers),
        "PROMETHEUS_MULTIPROC_DIR": str(server.files),
        "AGENTMETRICS_BACKEND": "prometheus",
    }
    with running(command, port=server.port, log=home / "log", env=env, cwd=ROOT):
        wait_for(lambda: server.finished()[1000] == (1 if server.preloads else WORKERS), 30)
        yield server


@pytest.fixture(scope="module")
def after_the_kill(gunicorn: Server) -> Server:
    """The server after a load during which one worker was killed in the middle of a call."""

    def doomed() -> None:
        with suppress(OSError, http.client.HTTPException):
            gunicorn.get("/call?hanging", 20)

    gunicorn.load(range(1, CALLS // 3))
    hanging = threading.Thread(target=doomed)
    hanging.start()
    pid_file = gunicorn.ledgers / "hanging"
    wait_for(lambda: pid_file.exists() and pid_file.read_text())
    gunicorn.killed = int(pid_file.read_text())
    wait_for(lambda: in_flight(gunicorn) == 1)
    loading = threading.Thread(target=gunicorn.load, args=(range(CALLS // 3, CALLS + 1),))
    loading.start()
    wait_for(lambda: sum(gunicorn.finished().values()) > CALLS // 2)
    os.kill(gunicorn.killed, signal.SIGKILL)
    assert loading.is_alive(), "the load was over before the kill"
    hanging.join(timeout=20)
    loading.join(timeout=60)
    assert not hanging.is_alive()
    assert not loading.is_alive()
    if not gunicorn.preloads:  # the one in its place imports the application, too
        wait_for(lambda: gunicorn.finished()[1000] == WORKERS + 1)
    return gunicorn


class TestFourWorkersOfWhichOneIsKilledUnderLoad:
    def test_four_workers_served_every_call_but_the_killed_one(
        self, after_the_kill: Server
    ) -> None:
        finished = after_the_kill.finished()
        del finished[1000], finished[SLOW]  # those made at import, and by a test
        assert after_the_kill.answered == CALLS
        assert finished == Counter(range(1, CALLS + 1))

    def test_four_workers_shared_the_work(self, after_the_kill: Server) -> None:
        ledgers = {int(path.stem) for path in after_the_kill.ledgers.glob("*.ledger")}
        assert after_the_kill.killed in ledgers
        assert len(ledgers) >= WORKERS + 1  # one came in the killed one's place

    def test_four_workers_counted_every_call_that_finished(self, after_the_kill: Server) -> None:
        metrics = after_the_kill.get("/metrics")
        finished = sum(after_the_kill.finished().values())
        assert total(metrics, "llm_calls_total", status="success") == finished
        assert total(metrics, "llm_calls_total") == finished
        assert total(metrics, "llm_latency_seconds_count") == finished

    def test_four_workers_counted_every_token_of_the_calls_that_finished(
        self, after_the_kill: Server
    ) -> None:
        metrics, finished = after_the_kill.get("/metrics"), after_the_kill.finished()
        tokens = sum(n * times for n, times in finished.items())
        assert total(metrics, "llm_tokens_total", token_type="input") == tokens
        assert total(metrics, "llm_tokens_total", token_type="output") == sum(finished.values())

    def test_four_workers_have_nothing_in_flight_when_all_calls_have_ended(
        self, after_the_kill: Server
    ) -> None:
        for gauge in (
            "llm_active_calls",
            "agentmetrics_open_runs",
            "llm_oldest_active_call_seconds",
        ):
            wait_for(lambda: total(after_the_kill.get("/metrics"), gauge) == 0)  # noqa: B023

    def test_four_workers_show_a_call_while_it_runs_and_not_when_it_has_ended(
        self, after_the_kill: Server
    ) -> None:
        slow = threading.Thread(target=after_the_kill.get, args=(f"/call?{SLOW}",))
        slow.start()
        wait_for(lambda: in_flight(after_the_kill) == 1, 5)
        wait_for(lambda: oldest(after_the_kill) > 0, 5)  # of one worker, beside three idle ones
        slow.join(timeout=10)
        wait_for(lambda: in_flight(after_the_kill) == 0, 5)
        wait_for(lambda: oldest(after_the_kill) == 0, 5)

    def test_no_file_is_left_of_what_the_dead_worker_had_in_flight(
        self, after_the_kill: Server
    ) -> None:
        after_the_kill.get("/metrics")
        files = {path.name for path in after_the_kill.files.iterdir()}
        assert f"counter_{after_the_kill.killed}.db" in files
        assert [
            f for f in files if f.startswith("gauge_live") and str(after_the_kill.killed) in f
        ] == []

    def test_four_workers_say_the_same_to_a_real_prometheus(
        self, after_the_kill: Server, prometheus: Callable[..., PrometheusServer]
    ) -> None:
        ask = prometheus(f"127.0.0.1:{after_the_kill.port}")
        ask.scraped()
        finished = sum(after_the_kill.finished().values())
        assert ask.value('sum(llm_calls_total{agent_name="server"})') == finished
        assert ask.value("sum(llm_active_calls)") == 0


@pytest.fixture(scope="module", params=["memory", "prometheus"])
def told(request: pytest.FixtureRequest) -> dict[str, object]:
    """What a program says that forks with a call in flight; pytest's own process has threads."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", forking.__file__, request.param],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, object] = json.loads(done.stdout)
    return told


class TestForkWithoutMultiprocessMode:
    def test_a_fork_without_multiprocess_mode_leaves_the_child_nothing_in_flight(
        self, told: dict[str, list[dict[str, float]]]
    ) -> None:
        before, after = told["child"]
        for child in (before, after):
            assert child["llm_active_calls"] == child["agentmetrics_open_runs"] == 0
            assert child["llm_oldest_active_call_seconds"] == 0
            assert child["entries"] == 0

    def test_a_fork_without_multiprocess_mode_lets_the_child_count_its_own(
        self, told: dict[str, list[dict[str, float]]]
    ) -> None:
        before, after = told["child"]
        assert after["llm_calls_total"] == before["llm_calls_total"] + 1

    def test_a_fork_without_multiprocess_mode_changes_nothing_in_the_parent(
        self, told: dict[str, dict[str, float]]
    ) -> None:
        during = dict(told["parent during"])
        assert during.pop("llm_oldest_active_call_seconds") > 0
        assert during == {
            "llm_active_calls": 1,
            "agentmetrics_open_runs": 1,
            "llm_calls_total": 1,
            "entries": 1,
        }

    def test_a_fork_without_multiprocess_mode_lets_the_parent_end_its_call(
        self, told: dict[str, dict[str, float]]
    ) -> None:
        assert told["parent after"] == {
            "llm_active_calls": 0,
            "agentmetrics_open_runs": 0,
            "llm_oldest_active_call_seconds": 0,
            "llm_calls_total": 2,
            "entries": 0,
        }

    def test_a_fork_without_multiprocess_mode_under_load_leaves_no_child_waiting_for_a_lock(
        self, told: dict[str, object]
    ) -> None:
        assert told["children under load"] == 20


READ_NO_MORE = """\
from agentmetrics import Metric, PrometheusRecorder
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

recorder = PrometheusRecorder()
shown = {("a",): 2.0, ("b",): 3.0}
for merge in ("last", "sum", "max"):
    metric = Metric(f"{merge}_of_it", "gauge", "It.", ("of",), merge=merge)
    recorder.observe_gauge(metric, lambda: shown)
recorder.store.flush()
del shown["b",]
recorder.store.flush()
registry = CollectorRegistry()
MultiProcessCollector(registry)
for line in sorted(generate_latest(registry).decode().splitlines()):
    if not line.startswith("#"):
        print(line)
"""


def test_an_observed_series_that_is_read_no_more_has_no_number_and_adds_nothing(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_NO_MORE],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
    )
    assert done.stdout.splitlines() == [
        'last_of_it{of="a"} 2.0',
        'last_of_it{of="b"} NaN',
        'max_of_it{of="a"} 2.0',
        'max_of_it{of="b"} 0.0',
        'sum_of_it{of="a"} 2.0',
        'sum_of_it{of="b"} 0.0',
    ], done.stderr


def test_a_gauge_that_the_parent_reads_stays_while_children_come_and_go(tmp_path: Path) -> None:
    program = """
import os
from agentmetrics import Metric, PrometheusRecorder

parent, recorder = os.getpid(), PrometheusRecorder()
depth = Metric("depth", "gauge", "Read by the parent alone.", ("queue",))
recorder.observe_gauge(depth, lambda: {("mail",): 3.0} if os.getpid() == parent else {})
recorder.flush()
(told, tells), (waits, ends) = os.pipe(), os.pipe()
if not os.fork():
    recorder.flush()
    os.write(tells, b".")
    os.close(ends)
    os.read(waits, 1)  # it lives for as long as the parent does
    os._exit(0)
os.read(told, 1)
print(*(s.value for f in recorder.scraped.collect() for s in f.samples if f.name == "depth"))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
    )
    assert done.stdout.decode().split() == ["3.0"], done.stderr.decode()
