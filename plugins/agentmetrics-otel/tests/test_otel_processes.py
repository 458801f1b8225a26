"""Several processes: gunicorn's workers, uvicorn, plain forks. What arrived is what was done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.otlp import OTLPReceiver
from tests.services.process import free_port, running

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CALLS = "llm_calls_total"


@pytest.fixture
def receiver() -> Iterator[OTLPReceiver]:
    receiver = OTLPReceiver()
    yield receiver
    receiver.close()


def environment(receiver: OTLPReceiver, **more: str) -> Mapping[str, str]:
    path = [str(ROOT), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "AGENTMETRICS_BACKEND": "otel",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_METRIC_EXPORT_INTERVAL": "60000",  # so that only the end of a process exports
        **more,
    }


@contextmanager
def serving(
    program: str, receiver: OTLPReceiver, home: Path, *options: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """gunicorn or uvicorn with the program; it is ended by SIGTERM."""
    port = free_port()
    command = [sys.executable, "-m", program, *options]
    if program == "gunicorn":
        command += [f"--bind=127.0.0.1:{port}", f"--worker-tmp-dir={home}", "otel_app:app"]
    else:
        command += [f"--port={port}", "otel_app:asgi"]
    env = {**environment(receiver), **variables, "HOME": str(home)}
    with running(command, port=port, log=home / "log", env=env, cwd=HERE) as process:
        yield process, port


def get(port: int, count: int) -> set[int]:
    """So many requests from four clients at once; the processes that answered."""

    def one(_: int) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
            return int(answer.read())

    with ThreadPoolExecutor(4) as clients:
        return set(clients.map(one, range(count)))


def test_workers_of_a_preloading_gunicorn_export_what_each_has_done_when_they_end(
    receiver: OTLPReceiver, tmp_path: Path
) -> None:
    variables = {
        "CALLS_AT_IMPORT": "5",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
    }
    with serving("gunicorn", receiver, tmp_path, "--preload", "--workers=2", **variables) as (
        _,
        port,
    ):
        workers = get(port, 60)
        assert not receiver.streams  # the interval is far away
    assert receiver.total(CALLS, status="success") == 65
    assert receiver.total("llm_tokens_total", token_type="input") == 650
    assert receiver.count("llm_latency_seconds") == 65
    instances = {resource["service.instance.id"] for resource in receiver.resources()}
    assert len(instances) == len(workers) + 1  # the master is the one that made the first five
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def test_a_worker_that_is_killed_takes_only_what_was_not_exported_yet(
    receiver: OTLPReceiver, tmp_path: Path
) -> None:
    with serving(
        "gunicorn", receiver, tmp_path, "--workers=2", OTEL_METRIC_EXPORT_INTERVAL="50"
    ) as (_, port):
        killed = min(get(port, 40))
        receiver.wait_for(lambda: receiver.total(CALLS, status="success") == 40)
        os.kill(killed, signal.SIGKILL)
        workers = get(port, 40)
        assert killed not in workers
    assert receiver.total(CALLS, status="success") == 80
    assert receiver.count("llm_latency_seconds") == 80


def test_a_provider_that_each_worker_sets_after_the_fork_is_the_one_that_is_used(
    receiver: OTLPReceiver, tmp_path: Path
) -> None:
    config = f"--config={HERE / 'otel_post_fork.py'}"
    with serving("gunicorn", receiver, tmp_path, "--preload", "--workers=2", config) as (_, port):
        workers = get(port, 40)
    assert receiver.total(CALLS, status="success") == 40
    assert receiver.count("llm_latency_seconds") == 40
    assert {resource["service.instance.id"] for resource in receiver.resources()} == {
        str(worker) for worker in workers
    }
    assert {resource["set.by"] for resource in receiver.resources()} == {"post_fork"}


def test_uvicorn_exports_the_rest_at_the_end_of_its_lifespan(
    receiver: OTLPReceiver, tmp_path: Path
) -> None:
    with serving("uvicorn", receiver, tmp_path) as (process, port):
        get(port, 30)
        process.terminate()
        process.wait(timeout=20)
    assert receiver.total(CALLS, status="success") == 30
    assert receiver.count("llm_call_cost_usd") == 30


def test_a_collector_that_is_away_holds_up_the_end_of_a_program_no_longer_than_its_timeout(
    tmp_path: Path,
) -> None:
    away = OTLPReceiver()
    away.close()
    with serving("uvicorn", away, tmp_path, OTEL_EXPORTER_OTLP_TIMEOUT="1") as (process, port):
        get(port, 3)
        process.terminate()
        process.wait(timeout=6)
    said = (tmp_path / "log").read_text()
    assert said.count("could not be exported") == 1
    assert "Traceback" not in said


FORKING = """
    import os
    import agentmetrics
    from otel_app import call

    recorder = agentmetrics.get_recorder()

    def in_child(calls):
        if os.fork() == 0:
            for _ in range(calls):
                call()
            recorder.flush()
            recorder.close()
            os._exit(0)
        os.wait()

    call()
    recorder.flush()
    call()  # which is not delivered yet
    in_child(calls=2)
    in_child(calls=0)
    call()
"""


def test_a_forked_child_exports_its_own_calls_and_says_nothing_when_it_has_made_none(
    receiver: OTLPReceiver,
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKING)],
        env=environment(receiver),
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(stream.value for _, stream in receiver.named(CALLS, status="success")) == [2, 3]
    assert receiver.count("llm_latency_seconds") == 5
    assert len(receiver.resources()) == 2
