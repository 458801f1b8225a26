"""Several worker processes that share a Prometheus directory, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.services.webserver import ask, on_gunicorn, wait_for

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
REQUESTS = 1000
SERVERS = {
    "WSGI": ("http_flask:on_prometheus()", ("--workers=4", "--worker-class=sync", "--preload")),
    "ASGI": ("http_hanging:app", ("--workers=2", "--worker-class=asgi")),
}


@dataclass
class Workers:
    """Several workers, and the file that one of them writes its process id to when it hangs."""

    port: int
    hanging: Path

    def value(self, name: str, **labels: str) -> float:
        """The sum over what all workers have recorded."""
        text = ask(self.port, "GET", "/metrics")[1].decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(params=SERVERS)
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workers]:
    app, options = SERVERS[request.param]
    files = tmp_path / "files"
    files.mkdir()
    hanging = tmp_path / "hanging"
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT), str(HERE.parent)]),
        "AGENTMETRICS_BACKEND": "prometheus",
        "PROMETHEUS_MULTIPROC_DIR": str(files),
        "HANGING": str(hanging),
    }
    with on_gunicorn(app, *options, home=tmp_path, env=env, cwd=HERE) as port:
        yield Workers(port, hanging)


def test_nothing_is_lost_and_nothing_stays_in_progress_when_a_worker_is_killed(
    workers: Workers,
) -> None:
    def hang() -> None:
        with suppress(OSError, Exception):
            ask(workers.port, "GET", "/hang")

    def one(number: int) -> int:
        return ask(workers.port, "GET", f"/items/{number}")[0]

    with ThreadPoolExecutor(8) as clients:
        assert set(clients.map(one, range(REQUESTS))) == {200}
        stuck = threading.Thread(target=hang)
        stuck.start()
        wait_for(lambda: workers.hanging.exists() and workers.hanging.read_text())
        # The scrape itself is no request; a gauge is written once a second.
        wait_for(lambda: workers.value("http_requests_active", method="GET") == 1)
        os.kill(int(workers.hanging.read_text()), signal.SIGKILL)
        stuck.join(10)
        wait_for(lambda: workers.value("http_requests_active", method="GET") == 0)
        assert set(clients.map(one, range(100))) == {200}
    answered = {"method": "GET", "status": "200"}
    wait_for(lambda: workers.value("http_requests_total", **answered) >= REQUESTS + 100)
    assert workers.value("http_requests_total") == REQUESTS + 100
    assert workers.value("http_request_duration_seconds_count") == REQUESTS + 100
    wait_for(lambda: workers.value("http_requests_active") == 0)


FORKING = """
import os
from agentmetrics import MemoryRecorder
from agentmetrics_asgi import WSGIMetricsMiddleware

def forking(environ, start_response):
    start_response("200 OK", [])
    child = os.fork()
    active = recorder.value("http_requests_active", method="GET")
    os.write(1, f"{'child' if child == 0 else 'parent'} {active}\\n".encode())
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return [b"ok"]

recorder = MemoryRecorder()
app = WSGIMetricsMiddleware(forking, recorder=recorder)
list(app({"REQUEST_METHOD": "GET"}, lambda status, headers: None))
"""


def test_what_is_in_progress_is_not_a_forked_child_s() -> None:
    path = os.pathsep.join([str(ROOT), str(HERE.parent)])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", FORKING], env=env, capture_output=True, text=True)
    assert sorted(done.stdout.splitlines()) == ["child 0.0", "parent 1.0"], done.stderr
