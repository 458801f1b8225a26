"""Child processes of the tests: started on a free loopback port, waited for, ended with SIGTERM."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def required(program: str, package: str) -> str:
    """The path of a program; a test that lacks it fails with what to install."""
    found = shutil.which(program)
    assert found, f"{program} is not installed: apt-get install --no-install-recommends {package}"
    return found


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"{process.args!r} did not listen on port {port} in {seconds} s")


@contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that listens on ``port``; what it prints goes to ``log``."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=cwd)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def group(
    command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process and all that it starts, of which nothing lives when this is over: what is
    there by then is killed. What they print is added to ``log``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=env, cwd=cwd, start_new_session=True
        )
    try:
        yield process
    finally:
        while there := members(process):
            for member in there:
                with suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
            time.sleep(0.005)
        process.wait()


def members(process: subprocess.Popen[bytes]) -> set[int]:
    """The process ids of what ``group`` has started that have not ended."""
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == process.pid and state not in "ZX":
                found.add(int(stat.parent.name))
    return found


def without_ours(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without what would make programs behave as tests do."""
    ours = ("AGENTMETRICS_", "COVERAGE", "PROMETHEUS_", "PYTEST")
    return {name: value for name, value in env.items() if not name.startswith(ours)}
