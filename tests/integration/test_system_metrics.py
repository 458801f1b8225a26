"""System metrics of real processes: in a real control group, of several workers, over StatsD."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from agentmetrics import MemoryRecorder
from agentmetrics.backends.multiprocess import MultiprocessCollector
from agentmetrics.catalog import PLATFORM
from agentmetrics.machine.groups import groups_of_process
from tests.integration.pages import blocks, page, rows
from tests.integration.test_multiprocess import total, wait_for

ROOT = Path(__file__).parents[2]
GROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
CORES = 0.5
WORKERS = 3


def environment(**more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AGENTMETRICS_")}
    return {**kept, "PYTHONPATH": str(ROOT), "AGENTMETRICS_SYSTEM_METRICS": "true", **more}


# A real control group

LIMITED = """\
import json, os, sys, time
import agentmetrics
for group in sys.argv[1:]:
    with open(os.path.join(group, "cgroup.procs"), "w") as processes:
        processes.write(str(os.getpid()))
recorder = agentmetrics.configure(agentmetrics.MemoryRecorder())
began = time.monotonic()
while time.monotonic() < began + 1.2:
    pass
names = ("cpu_percent", "cpu_limit_cores", "process_cpu_seconds_total")
print(json.dumps({name: recorder.value("system_" + name) for name in names}))
"""


@dataclass
class RealGroup:
    """The directories of a control group that may use half a core; none where none can be made."""

    directories: list[Path]

    @property
    def cores(self) -> float:
        return CORES if self.directories else float(psutil.cpu_count() or 1)


def _make_group() -> Iterator[Path]:
    name = f"agentmetrics-test-{os.getpid()}"
    quota = round(CORES * PERIOD_US)
    if (GROUPS / "cgroup.controllers").exists():  # version 2
        if "cpu" not in (GROUPS / "cgroup.subtree_control").read_text().split():
            raise OSError("groups here are not limited in CPU, which is the system's to change")
        (GROUPS / name).mkdir()
        yield GROUPS / name
        (GROUPS / name / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        return
    for controller in ("cpu", "cpuacct"):
        directory = (GROUPS / controller).resolve() / name
        directory.mkdir(exist_ok=True)  # the two may be one
        yield directory
    (GROUPS / "cpu" / name / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (GROUPS / "cpu" / name / "cpu.cfs_quota_us").write_text(str(quota))


@pytest.fixture
def real_group() -> Iterator[RealGroup]:
    """One of its own, for which the tests must be root; else the one that they are in."""
    made: list[Path] = []
    group = RealGroup(made)
    try:
        made.extend(_make_group())
    except OSError:
        group = RealGroup([])
    yield group
    for directory in reversed(made):
        with suppress(OSError):
            directory.rmdir()


def test_a_process_in_a_real_control_group_has_its_limit_and_is_busy_by_that(
    real_group: RealGroup,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, real_group.directories)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cpu_limit_cores"] <= real_group.cores
    if real_group.directories:
        assert found["cpu_limit_cores"] == CORES
        # The kernel gives half a core, or less beside many others; never more.
        assert 25 <= found["cpu_percent"] <= 115
    assert found["cpu_percent"] > 0


def test_the_memory_of_the_real_control_group_grows_by_what_a_process_takes() -> None:
    counting = [group for group in groups_of_process() if group.memory_used() is not None]
    taken = []
    for group in counting[-1:]:  # a host's own group counts nothing
        before = group.memory_used() or 0
        taken.append(bytearray(os.urandom(1024)) * 65_536)
        assert (group.memory_used() or 0) - before > 32 * 1024 * 1024
    assert len(taken) == len(counting[-1:])


# Several workers

WORKER = """\
import sys, threading, time
import agentmetrics
agentmetrics.configure(backend="prometheus")
until = time.process_time() + 0.2
while time.process_time() < until:
    pass
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass
class Workers:
    directory: Path
    processes: list[subprocess.Popen[str]]

    def metrics(self) -> str:
        registry = CollectorRegistry()
        registry.register(MultiprocessCollector(str(self.directory)))
        return generate_latest(registry).decode()

    def value(self, name: str) -> float:
        return total(self.metrics(), name)

    def alive(self) -> list[psutil.Process]:
        return [psutil.Process(one.pid) for one in self.processes if one.poll() is None]


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    directory = tmp_path_factory.mktemp("files")
    env = environment(PROMETHEUS_MULTIPROC_DIR=str(directory))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes: list[subprocess.Popen[str]] = [
        subprocess.Popen([sys.executable, "-c", WORKER], env=env, **pipes)  # type: ignore[call-overload]
        for _ in range(WORKERS)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    found = Workers(directory, processes)
    wait_for(lambda: "system_process_threads " in found.metrics())
    yield found
    for process in processes:
        process.kill()
        process.communicate()


def test_several_workers_are_one_machine_of_several_processes(workers: Workers) -> None:
    """And of a worker that was killed nothing is left but the CPU time that it used."""
    memory = psutil.virtual_memory()
    alive = workers.alive()
    wait_for(
        lambda: workers.value("system_process_threads") == sum(one.num_threads() for one in alive)
    )
    assert len(alive) == WORKERS
    assert workers.value("system_memory_limit_bytes") <= memory.total
    assert workers.value("system_cpu_limit_cores") <= (psutil.cpu_count() or 1)
    assert 0 < workers.value("system_disk_percent") <= 100
    # A process that lists its open files has the list open, too.
    wait_for(
        lambda: workers.value("system_process_open_fds") == sum(one.num_fds() + 1 for one in alive)
    )
    assert workers.value("system_process_resident_memory_bytes") == pytest.approx(
        sum(one.memory_info().rss for one in alive), rel=0.1
    )
    wait_for(lambda: workers.value("system_process_cpu_seconds_total") >= 0.2 * WORKERS)

    used = workers.value("system_process_cpu_seconds_total")
    os.kill(workers.processes[0].pid, signal.SIGKILL)
    workers.processes[0].wait()
    left = workers.alive()
    assert len(left) == WORKERS - 1
    wait_for(
        lambda: workers.value("system_process_threads") == sum(one.num_threads() for one in left)
    )
    assert workers.value("system_process_open_fds") == sum(one.num_fds() + 1 for one in left)
    assert workers.value("system_process_cpu_seconds_total") >= used
    assert workers.value("system_memory_limit_bytes") <= memory.total


# StatsD

SENDING = """\
import sys, time
import agentmetrics
agentmetrics.configure(backend="statsd", statsd_port=int(sys.argv[1]), statsd_flush_interval=0.05)
time.sleep(0.5)
"""


def test_a_program_that_records_nothing_else_sends_its_system_metrics_over_statsd() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(10)
        port = daemon.getsockname()[1]
        subprocess.run(
            [sys.executable, "-c", SENDING, str(port)], check=True, timeout=60, env=environment()
        )
        daemon.setblocking(False)
        lines: list[str] = []
        with suppress(BlockingIOError):
            while True:
                lines += daemon.recv(65_536).decode().splitlines()
    sent = {line.partition(":")[0]: line.rpartition(":")[2] for line in lines}
    assert {
        "system_cpu_percent",
        "system_memory_used_bytes",
        "system_disk_percent",
        "system_process_threads",
    } <= set(sent)
    counted = [
        float(line.partition(":")[2].partition("|")[0])
        for line in lines
        if line.startswith("system_process_cpu_seconds_total:")
    ]
    assert sum(counted) == pytest.approx(0.5, abs=0.49)  # each is what was used since the last
    assert sent["system_process_cpu_seconds_total"].endswith("|c")


# The page


def test_the_page_has_every_row_and_its_kind() -> None:
    listed = {
        name.strip("`"): kind
        for name, kind, _ in rows(page("system-metrics.md"), "metric", "kind", "what it is")
    }
    assert listed == {
        row.name: row.kind for row in PLATFORM if row.name.startswith(("system_", "event_loop_"))
    }


def test_the_example_of_the_page_watches_its_loop(agent_metrics: MemoryRecorder) -> None:
    (example,) = blocks(page("system-metrics.md"), "python")
    exec(compile(example, "system-metrics.md", "exec"), {})
    assert agent_metrics.histogram("event_loop_lag_seconds").count >= 2
