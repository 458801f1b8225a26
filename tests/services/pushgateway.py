"""A real Pushgateway, and what it has."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.services.process import free_port, required, running


class PushgatewayServer:
    """A running Pushgateway."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def groups(self) -> list[dict[str, str]]:
        """The labels of every group, as its API lists them."""
        found = json.loads(self._get("/api/v1/metrics"))
        return [group["labels"] for group in found["data"]]

    def value(self, name: str, **labels: str) -> float:
        """The value of the one sample of this name with these labels, as it is scraped."""
        found = self.values(name, **labels)
        assert len(found) == 1, (name, labels, found)
        return found[0]

    def values(self, name: str, **labels: str) -> list[float]:
        return [
            sample.value
            for family in text_string_to_metric_families(self._get("/metrics"))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def clear(self) -> None:
        request = urllib.request.Request(f"{self.url}/api/v1/admin/wipe", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def ready(self, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self._get("/-/ready")
                return
            except urllib.error.HTTPError as starting:
                starting.close()
                time.sleep(0.02)
        raise AssertionError(f"the Pushgateway was not ready in {seconds} s")

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as response:
            return response.read().decode()


@contextmanager
def running_pushgateway(directory: Path) -> Iterator[PushgatewayServer]:
    program, port = required("prometheus-pushgateway", "prometheus-pushgateway"), free_port()
    command = [program, f"--web.listen-address=127.0.0.1:{port}", "--web.enable-admin-api"]
    with running(command, port=port, log=directory / "pushgateway.log"):
        server = PushgatewayServer(port)
        server.ready()
        yield server


@pytest.fixture(scope="module")
def _pushgateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushgatewayServer]:
    with running_pushgateway(tmp_path_factory.mktemp("pushgateway")) as server:
        yield server


@pytest.fixture
def pushgateway(_pushgateway: PushgatewayServer) -> PushgatewayServer:
    """A real one, which has nothing yet."""
    _pushgateway.clear()
    return _pushgateway
