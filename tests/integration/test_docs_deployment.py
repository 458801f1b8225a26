"""The recipes of docs/deployment.md, run as they stand there, on the real servers."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from subprocess import Popen
from typing import Any

import kubernetes_validate
import pytest
import yaml
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics import Ledger
from tests.integration.pages import DOCS, ROOT, blocks, page, section
from tests.services.process import free_port, group, wait_for_port, without_ours
from tests.services.pushgateway import PushgatewayServer
from tests.services.webserver import ask, wait_for

PAGE = page("deployment.md")
COMMON = section(PAGE, "Settings")
SECONDS = 60.0
QUESTIONS = 12
NANO_USD = 210_000
"""What the page's call costs: 1000 input tokens of gpt-4o-mini and 100 output tokens."""
OF_FLASK = ("uWSGI", "Kubernetes")
"""Sections whose application is that of Flask."""


class Machine:
    """A directory with a recipe's files; addresses and paths of the page are those of here."""

    def __init__(self, directory: Path, title: str, replaced: Mapping[str, str] = {}) -> None:
        self.text = section(PAGE, title)
        self.home, self._log = directory, directory / "log"
        self.port = free_port()
        self._replaced = {
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "0.0.0.0:8000": f"127.0.0.1:{self.port}",
            "--port 8000": f"--port {self.port}",
            "/var/lib/shop": str(directory),
            "/run/shop": str(directory),
            **replaced,
        }
        for text in self._files(title):
            named = re.match(r"# (\w+\.\w+)\n", text)
            assert named, text
            (directory / named[1]).write_text(self.here(text))
        self.settings = dict(
            line.removeprefix("export ").split("=", 1)
            for line in self.here(blocks(COMMON, "sh")[0]).splitlines()
        )
        for name, value in self.settings.items():
            if name == "PROMETHEUS_MULTIPROC_DIR":
                Path(value).mkdir()
        self.settings["AGENTMETRICS_LEDGER_FLUSH_INTERVAL"] = "600"  # only the end itself writes

    def _files(self, title: str) -> Iterator[str]:
        yield from blocks(COMMON, "python")
        if title in OF_FLASK:
            yield from blocks(section(PAGE, "Flask with gunicorn"), "python")
        if title == "FastAPI with gunicorn":
            yield from blocks(section(PAGE, "FastAPI with uvicorn"), "python")
        yield from blocks(self.text, "python")
        yield from blocks(self.text, "ini")

    def here(self, text: str) -> str:
        for of_the_page, of_here in self._replaced.items():
            text = text.replace(of_the_page, of_here)
        return text

    @property
    def env(self) -> dict[str, str]:
        """The settings, and nothing of the tests' own."""
        kept = without_ours(os.environ)
        programs = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        path = os.pathsep.join([str(self.home), str(ROOT), *filter(None, sys.path)])
        of_here = {"PATH": programs, "PYTHONPATH": path, "HOME": str(self.home)}
        return {**kept, **of_here, **self.settings}

    @contextmanager
    def running(self, command: str) -> Iterator[Popen[bytes]]:
        with group(shlex.split(command), cwd=self.home, env=self.env, log=self._log) as process:
            yield process

    @contextmanager
    def serving(self, command: str) -> Iterator[Popen[bytes]]:
        with self.running(command) as process:
            wait_for_port(self.port, process, SECONDS)
            yield process

    def ask(self, questions: int = QUESTIONS) -> None:
        for _ in range(questions):
            status, body = ask(self.port, "GET", "/ask?question=When")
            assert (status, b"from 9 to 18" in body) == (200, True), self.log()

    def metrics(self, port: int | None = None) -> float:
        """The calls that a scrape shows."""
        status, body = ask(port or self.port, "GET", "/metrics")
        assert status == 200
        return calls_in(body.decode())

    def end(self, process: Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
        process.send_signal(how)
        process.wait(SECONDS)

    def log(self) -> str:
        return self._log.read_text()


def calls_in(exposition: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "llm_calls_total" and sample.labels["agent_name"] == "clerk"
    )


def in_ledger(url: str) -> tuple[int, int]:
    """The calls of the page's agent in a ledger, and what they cost in nano-dollars."""
    since = datetime.now(timezone.utc) - timedelta(days=1)
    with Ledger(url) as ledger:
        groups = ledger.summary("daily", by=["agent_name"], since=since).groups
    amounts = [one.amounts for one in groups if one.labels["agent_name"] == "clerk"]
    return sum(one.calls for one in amounts), sum(one.cost_nano_usd for one in amounts)


SERVERS = ("FastAPI with uvicorn", "FastAPI with gunicorn", "Flask with gunicorn", "uWSGI")


@pytest.mark.parametrize(
    ("title", "command"),
    [(title, block) for title in SERVERS for block in blocks(section(PAGE, title), "sh")],
    ids=str.rstrip,
)
def test_a_server_keeps_every_call_when_it_is_stopped(
    tmp_path: Path, title: str, command: str
) -> None:
    machine = Machine(tmp_path, title)
    with machine.serving(machine.here(command)) as process:
        machine.ask()
        assert machine.metrics() == QUESTIONS
        machine.end(process)
    url = machine.settings["AGENTMETRICS_LEDGER_URL"]
    assert in_ledger(url) == (QUESTIONS, QUESTIONS * NANO_USD), machine.log()


def test_celery_keeps_every_call_when_it_is_stopped(
    tmp_path: Path, redis: Callable[[], str]
) -> None:
    broker, port = redis(), free_port()
    machine = Machine(
        tmp_path, "Celery", {"redis://127.0.0.1:6379/0": broker, "port=9464": f"port={port}"}
    )
    (command,) = blocks(machine.text, "sh")
    with machine.running(command) as process, Celery("sender", broker=broker) as sender:
        for _ in range(QUESTIONS):
            sender.send_task("tasks.ask", ["When?"])
        wait_for_port(port, process, SECONDS)
        wait_for(lambda: machine.metrics(port) == QUESTIONS, SECONDS)
        machine.end(process)
    url = machine.settings["AGENTMETRICS_LEDGER_URL"]
    assert in_ledger(url) == (QUESTIONS, QUESTIONS * NANO_USD), machine.log()


def test_a_batch_job_keeps_every_call_and_pushes_the_sum(
    tmp_path: Path, pushgateway: PushgatewayServer
) -> None:
    machine = Machine(
        tmp_path, "Batch jobs with multiprocessing", {"http://127.0.0.1:9091": pushgateway.url}
    )
    (block,) = blocks(machine.text, "sh")
    with machine.running(f"sh -c {shlex.quote(block)}") as process:
        assert process.wait(SECONDS) == 0, machine.log()
    assert machine.log().count("from 9 to 18") == 100
    assert re.search(r"^clerk +100 ", machine.log(), re.MULTILINE), machine.log()
    assert sum(pushgateway.values("llm_calls_total", agent_name="clerk", job="nightly")) == 100


MANIFESTS = list(yaml.safe_load_all(blocks(section(PAGE, "Kubernetes"), "yaml")[0]))
DEPLOYMENT: Any = MANIFESTS[0]
SPEC: Any = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER: Any = SPEC["containers"][0]


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_a_manifest_is_what_kubernetes_takes(manifest: Any, version: str) -> None:
    assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_manifests_fit_together() -> None:
    service = MANIFESTS[1]
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert [port["targetPort"] for port in service["spec"]["ports"]] == [
        port["name"] for port in CONTAINER["ports"]
    ]
    volumes = {volume["name"] for volume in SPEC["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes
    graceful = int(CONTAINER["command"][CONTAINER["command"].index("--graceful-timeout") + 1])
    assert SPEC["terminationGracePeriodSeconds"] > graceful + 10


class Pod(Machine):
    """What a kubelet makes of the manifest: the command, the variables, the volume."""

    def __init__(self, directory: Path, ledger_url: str) -> None:
        self.volume = directory / "volume"
        self.volume.mkdir()
        (mount,) = CONTAINER["volumeMounts"]
        super().__init__(directory, "Kubernetes", {mount["mountPath"]: str(self.volume)})
        variables = {one["name"]: one.get("value", ledger_url) for one in CONTAINER["env"]}
        self.settings |= {name: self.here(value) for name, value in variables.items()}
        self.command = self.here(shlex.join(CONTAINER["command"]))


def test_a_pod_that_is_deleted_has_written_every_call(
    tmp_path: Path, postgres: Callable[[], str]
) -> None:
    url = postgres()
    pod = Pod(tmp_path, url)
    with pod.serving(pod.command) as process:
        pod.ask()
        assert pod.metrics() == QUESTIONS
        pod.end(process)
        shutil.rmtree(pod.volume)
    assert in_ledger(url) == (QUESTIONS, QUESTIONS * NANO_USD), pod.log()


def test_a_container_that_is_started_again_writes_what_the_one_before_had_finished(
    tmp_path: Path, postgres: Callable[[], str]
) -> None:
    url = postgres()
    pod = Pod(tmp_path, url)
    with pod.serving(pod.command):
        pod.ask()
    # All of its processes were killed with it, as those of a container are.
    assert in_ledger(url)[0] == 0
    with pod.serving(pod.command) as process:
        pod.ask()
        pod.end(process)
        shutil.rmtree(pod.volume)
    assert in_ledger(url) == (2 * QUESTIONS, 2 * QUESTIONS * NANO_USD), pod.log()


def test_every_command_and_file_of_the_page_is_run() -> None:
    assert {*SERVERS, "Celery", "Batch jobs with multiprocessing", "Kubernetes", "Settings"} == {
        line.removeprefix("## ") for line in PAGE.splitlines() if line.startswith("## ")
    }
    assert (DOCS / "ends.md").exists()
