"""A signal handler flushes, records and reads while the program does the same: nothing hangs, and
every call counts."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.programs import signalled

SECONDS = times(short=1, whole=20)
PATIENCE_SECONDS = 60


class Daemon:
    """A StatsD daemon over TCP, for one program."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._text = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:  # closed: the program sends nothing
            return
        with connection:
            while received := connection.recv(1 << 16):
                self._text += received

    def close(self) -> None:
        """Wait for no program any more."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # which ends the waiting, as close does not
        self._listening.close()
        self._thread.join(PATIENCE_SECONDS)

    def calls(self) -> int:
        """How many it has heard of, once the program is over."""
        self._thread.join(PATIENCE_SECONDS)
        lines = re.findall(rb"^llm_calls_total[^:]*:([\d.]+)\|c", self._text, re.MULTILINE)
        return int(sum(map(float, lines)))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    yield daemon
    daemon.close()


@pytest.mark.parametrize("backend", ["memory", "statsd", "prometheus", "multiprocess"])
def test_a_storm_of_signals_hangs_nothing_and_costs_no_call(
    backend: str, daemon: Daemon, tmp_path: Path, proves: Proves
) -> None:
    program = [sys.executable, "-m", signalled.__name__, backend, str(SECONDS), str(tmp_path)]
    done = subprocess.run(
        [*program, str(daemon.port)],
        capture_output=True,
        text=True,
        timeout=signalled.PATIENCE_SECONDS + SECONDS + 60,
    )
    assert not done.returncode, done.stderr[-5000:]
    handled, made, counted = json.loads(done.stdout)
    if backend == "statsd":
        counted["daemon"] = daemon.calls()
    assert handled > 0
    assert set(counted.values()) == {made}, (made, counted, done.stderr)
    assert "could not fully record" not in done.stderr
    proves(
        f"{handled:,} signals that record, flush and read while the program and two threads do",
        f"0 hung, 0 raised; {made:,} of {made:,} calls are in {_and(sorted(counted))}",
    )


def _and(names: list[str]) -> str:
    *others, last = (f"the {name}" for name in names)
    return f"{', '.join(others)} and {last}" if others else last
