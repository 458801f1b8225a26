"""A real Alertmanager, and a server that it posts to."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.services.process import free_port, required, running


@contextmanager
def running_alertmanager(config: Path, data: Path) -> Iterator[str]:
    """Alertmanager with this configuration; its address, as ``host:port``.

    It is started in the configuration's directory, which the paths in there are relative to.
    """
    program, port = required("prometheus-alertmanager", "prometheus-alertmanager"), free_port()
    command = [
        program,
        f"--config.file={config}",
        f"--storage.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    log = data.with_suffix(".log")
    with running(command, port=port, log=log, cwd=config.parent):
        yield f"127.0.0.1:{port}"


def post_alerts(address: str, alerts: Sequence[Mapping[str, Any]]) -> None:
    """Tell Alertmanager of firing alerts, as Prometheus does."""
    request = urllib.request.Request(
        f"http://{address}/api/v2/alerts",
        json.dumps(alerts).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def inhibited(address: str, count: int, seconds: float = 10.0) -> set[tuple[str, str]]:
    """The job and name of each alert that another one silences, once there are so many."""
    deadline = time.monotonic() + seconds
    while True:
        with urllib.request.urlopen(f"http://{address}/api/v2/alerts", timeout=10) as response:
            alerts = json.load(response)
        silenced = [alert for alert in alerts if alert["status"]["inhibitedBy"]]
        if len(silenced) >= count or time.monotonic() > deadline:
            return {(one["labels"]["job"], one["labels"]["alertname"]) for one in silenced}
        time.sleep(0.1)


@dataclass
class Inbox:
    """What was posted to a loopback server."""

    url: str = ""
    posted: list[dict[str, Any]] = field(default_factory=list)

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts of all posts, as Alertmanager tells a webhook."""
        return [alert for post in list(self.posted) for alert in post["alerts"]]

    def wait_for(self, *names: str, seconds: float = 60.0) -> dict[str, dict[str, Any]]:
        """The first firing alert of each of these names, once all of them are here."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            firing = [alert for alert in self.alerts() if alert["status"] == "firing"]
            found = {alert["labels"]["alertname"]: alert for alert in reversed(firing)}
            if found.keys() >= set(names):
                return {name: found[name] for name in names}
            time.sleep(0.1)
        here = sorted(alert["labels"]["alertname"] for alert in self.alerts())
        raise AssertionError(f"not told of all of {names} in {seconds} s, but of {here}")


@contextmanager
def receiving() -> Iterator[Inbox]:
    """A loopback server that keeps what is posted to it as JSON."""
    inbox = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.posted.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox.url = f"http://127.0.0.1:{server.server_port}/alerts"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
