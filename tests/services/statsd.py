"""A real StatsD daemon, the original one, over UDP and TCP, and what it says it has received."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.services.process import free_port, required, running

VERSION = "0.9.0"
INSTALLED = Path(__file__).parents[2] / "build" / f"statsd-{VERSION}"

# The management port prints objects as Node inspects them, which leaves out what is past 100.
PRELOADED = """require("util").inspect.defaultOptions.maxArrayLength = null;\n"""

_SERIES = re.compile(r"(?:'([^']*)'|([\w$]+)): (\[[^\]]*\]|[^\s,}]+)")


class StatsDDaemon:
    """The daemon on free loopback ports; it can go away and come back on the same ones.

    It never flushes on its own, so its counters and timers are everything since it started.
    """

    def __init__(self, directory: Path) -> None:
        self.host = "127.0.0.1"
        self.udp_port = free_port(socket.SOCK_DGRAM)
        self.tcp_port = free_port()
        self.log = directory / "statsd.log"
        self._management_port = free_port()
        self._config = directory / "config.js"
        self._preloaded = directory / "preloaded.js"
        self._running = ExitStack()

    def port(self, protocol: str) -> int:
        return {"udp": self.udp_port, "tcp": self.tcp_port}[protocol]

    def start(self) -> None:
        """Start it with nothing in it; returns when all its ports are open."""
        servers = [
            {"server": "./servers/udp", "address": self.host, "port": self.udp_port},
            {"server": "./servers/tcp", "address": self.host, "port": self.tcp_port},
        ]
        config = {
            "servers": servers,
            "mgmt_address": self.host,
            "mgmt_port": self._management_port,
            "backends": ["./backends/console"],
            "flushInterval": 3_600_000,
            "dumpMessages": True,
        }
        self._config.write_text(f"({json.dumps(config)})")
        self._preloaded.write_text(PRELOADED)
        program = installed() / "node_modules" / "statsd" / "stats.js"
        node = required("node", "nodejs")
        command = [node, "-r", str(self._preloaded), str(program), str(self._config)]
        self._running.enter_context(running(command, port=self._management_port, log=self.log))
        self._wait_for_udp()

    def stop(self) -> None:
        """End it; everything it had is gone, and its ports are closed."""
        self._running.close()

    def _wait_for_udp(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((self.host, self.udp_port))
            for _ in range(500):
                try:
                    probe.send(b"")
                    time.sleep(0.01)
                    probe.send(b"")  # which is where the refusal of the first would show
                except ConnectionRefusedError:
                    continue
                return
        raise AssertionError("the daemon opened no UDP port")

    def counters(self) -> dict[str, float]:
        """The sums since it started, without those about itself."""
        return self._numbers("counters")

    def gauges(self) -> dict[str, float]:
        return self._numbers("gauges")

    def timers(self) -> dict[str, list[float]]:
        """Every value it received, in order."""
        return {
            name: [float(value) for value in text.strip("[] \n").split(",") if value.strip()]
            for name, text in self._ask("timers").items()
        }

    def lines(self) -> list[str]:
        """Every line it received since it started, as it came."""
        dumped = re.compile(r"^\d+ \w+ \d\d:\d\d:\d\d - (?:DEBUG: )?(\S+:\S+\|\S+)$", re.MULTILINE)
        return dumped.findall(self.log.read_text())

    def timer_counts(self) -> dict[str, float]:
        """Stop it, and read from its last flush how many values, scaled by their sample rates,
        each timer stood for."""
        self.stop()
        flushed = self.log.read_text().rpartition("Flushing stats at")[2]
        data = re.compile(r"'?([\w.-]+)'?: \{[^{}]*?\bcount: ([\d.]+)")
        return {name: float(count) for name, count in data.findall(flushed)}

    def _numbers(self, command: str) -> dict[str, float]:
        found = self._ask(command).items()
        return {name: float(text) for name, text in found if not name.startswith("statsd.")}

    def _ask(self, command: str) -> dict[str, str]:
        with socket.create_connection((self.host, self._management_port), timeout=10) as management:
            management.sendall(command.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"END\n\n"):
                received = management.recv(65536)
                assert received, f"the daemon hung up after {answer!r}"
                answer += received
        return {a or b: text for a, b, text in _SERIES.findall(answer.decode())}


def installed() -> Path:
    """Where the daemon is; npm installs it there once."""
    if not INSTALLED.exists():
        npm = required("npm", "nodejs npm")
        INSTALLED.parent.mkdir(exist_ok=True)
        directory = tempfile.mkdtemp(dir=INSTALLED.parent)
        command = [npm, "install", "--no-audit", "--no-fund", "--omit=optional"]
        done = subprocess.run(
            [*command, "--prefix", directory, f"statsd@{VERSION}"], capture_output=True, text=True
        )
        assert done.returncode == 0, f"npm could not install statsd: {done.stderr}"
        try:
            Path(directory).rename(INSTALLED)
        except OSError:  # another run of the tests was faster
            shutil.rmtree(directory)
    return INSTALLED


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes true in time: for what a daemon does after the packet was sent."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def statsd(tmp_path: Path) -> Iterator[StatsDDaemon]:
    """A running daemon that has received nothing yet."""
    daemon = StatsDDaemon(tmp_path)
    daemon.start()
    yield daemon
    daemon.stop()
