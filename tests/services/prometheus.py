"""A real Prometheus server that scrapes what a test gives it, and promtool."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.services.process import free_port, required, running

SCRAPE_INTERVAL_SECONDS = 0.5


class PrometheusServer:
    """A running server, asked over its HTTP API."""

    def __init__(self, url: str, targets: Sequence[str]) -> None:
        self.url = url
        self.targets = targets
        self._scraped_at: float | None = None

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def ready(self, seconds: float = 20.0) -> None:
        """Wait until it answers queries; it listens a moment before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=10):
                    return
            except urllib.error.HTTPError as starting:
                starting.close()
                time.sleep(0.02)
        raise AssertionError(f"Prometheus was not ready in {seconds} s")

    def values(self, promql: str, *labels: str) -> dict[tuple[str, ...], float]:
        """A value by the values of these labels, which tell all series apart.

        The answer is as of the scrape that was last waited for, or else as of now: on a busy
        machine a later scrape can time out, which makes every series stale.
        """
        at = {} if self._scraped_at is None else {"time": f"{self._scraped_at:.3f}"}
        data = self.get("query", query=promql, **at)
        assert data["resultType"] == "vector", data
        found = {
            tuple(series["metric"].get(label, "") for label in labels): float(series["value"][1])
            for series in data["result"]
        }
        assert len(found) == len(data["result"]), f"{labels} do not tell the series apart: {data}"
        return found

    def value(self, promql: str) -> float:
        """The one value that a query answers with."""
        found = self.values(promql)
        assert found, f"no data for {promql}"
        return found[()]

    def scraped(self, seconds: float = 20.0) -> float:
        """Wait until every target was scraped, whole, by a scrape that began after this call.

        Returns the Unix time at which all of that can be queried.
        """
        self._scraped_at = None
        now, deadline = time.time(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            # `up` is stored together with the samples of its scrape, under the scrape's own time.
            fresh = self.values(f"timestamp(up) > {now:.3f} and up == 1", "instance")
            if len(fresh) == len(self.targets):
                self._scraped_at = max(fresh.values())
                return self._scraped_at
            time.sleep(0.05)
        raise AssertionError(f"not scraped in {seconds} s: {self.get('targets')}")

    def until(self, promql: str, seconds: float = 20.0) -> None:
        """Wait until a query has an answer as of now."""
        self._scraped_at = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.get("query", query=promql)["result"]:
                return
            time.sleep(0.05)
        raise AssertionError(f"no answer in {seconds} s: {promql}")


@contextmanager
def running_prometheus(
    directory: Path, targets: Sequence[str], rules: Sequence[Path] = ()
) -> Iterator[PrometheusServer]:
    """Prometheus scraping ``targets``, each ``host:port``, every half second.

    As often, it evaluates the rules in these files.
    """
    config = directory / "prometheus.yml"
    jobs = [
        {
            "job_name": "agents",
            "scrape_interval": f"{int(SCRAPE_INTERVAL_SECONDS * 1000)}ms",
            "scrape_timeout": f"{int(SCRAPE_INTERVAL_SECONDS * 1000)}ms",
            "static_configs": [{"targets": list(targets)}],
        }
    ]
    config.write_text(  # JSON is YAML
        json.dumps(
            {
                "global": {"evaluation_interval": f"{int(SCRAPE_INTERVAL_SECONDS * 1000)}ms"},
                "rule_files": list(map(str, rules)),
                "scrape_configs": jobs,
            }
        )
    )
    with running_with(config, directory, targets) as server:
        yield server


@contextmanager
def running_with(
    config: Path, directory: Path, targets: Sequence[str], *flags: str
) -> Iterator[PrometheusServer]:
    """Prometheus with this configuration, which names the ``targets``; data in ``directory``."""
    program, port = required("prometheus", "prometheus"), free_port()
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url=http://127.0.0.1:{port}/",
        *flags,
    ]
    with running(command, port=port, log=directory / "prometheus.log"):
        server = PrometheusServer(f"http://127.0.0.1:{port}", targets)
        server.ready()
        yield server


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., PrometheusServer]]:
    """``prometheus("127.0.0.1:9000", …)`` is a real server that scrapes these targets."""
    with ExitStack() as servers:

        def start(*targets: str) -> PrometheusServer:
            directory = tmp_path_factory.mktemp("prometheus")
            return servers.enter_context(running_prometheus(directory, targets))

        yield start


def promtool_findings(exposition: bytes) -> list[str]:
    """What ``promtool check metrics`` finds in an exposition in text 0.0.4, a line each.

    Raises ``AssertionError`` when it cannot be parsed.
    """
    program = required("promtool", "prometheus")
    done = subprocess.run(
        [program, "check", "metrics"], input=exposition, capture_output=True, timeout=30
    )
    said = (done.stdout + done.stderr).decode().splitlines()
    # 3 is for findings of its linter; anything else but 0 is an exposition it cannot read.
    assert done.returncode in (0, 3), said
    return said


@pytest.fixture(scope="session")
def promtool() -> Callable[[bytes], list[str]]:
    """``promtool(exposition)`` gives the findings of promtool's linter."""
    return promtool_findings
