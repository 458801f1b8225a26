"""The live page over real HTTP, each of the four ways, and clients that are many or slow."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import psutil
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from agentmetrics import PrometheusRecorder, configure, record_call, track_run
from agentmetrics.config.active import replaced
from agentmetrics.exposition import (
    make_asgi_app,
    make_wsgi_app,
    page_route,
    start_http_server,
    start_http_server_in_thread,
)
from agentmetrics.exposition.page import aio, asgi, feed
from agentmetrics.exposition.page.places import MAX_CLIENTS
from tests.services.process import free_port, running

pytestmark = pytest.mark.asyncio_alone


@pytest.fixture
def recorder() -> PrometheusRecorder:
    """Three calls of a planner."""
    made = PrometheusRecorder(CollectorRegistry())
    for _ in range(3):
        record_call("openai", "gpt-4o-mini", agent_name="planner", recorder=made)
    return made


@contextmanager
def on_asyncio(recorder: PrometheusRecorder, **options: Any) -> Iterator[str]:
    with start_blocking_portal("asyncio") as portal:
        server = portal.call(partial(start_http_server, recorder, **options))
        try:
            yield f"http://127.0.0.1:{server.socket.port}"
        finally:
            portal.call(server.close)


@contextmanager
def in_thread(recorder: PrometheusRecorder, **options: Any) -> Iterator[str]:
    with start_http_server_in_thread(recorder, **options) as server:
        yield f"http://127.0.0.1:{server.port}"


@contextmanager
def running_asgi(app: Any) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def as_asgi(recorder: PrometheusRecorder) -> AbstractContextManager[str]:
    return running_asgi(make_asgi_app(recorder, page=True))


class _Silent(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None: ...


@contextmanager
def as_wsgi(recorder: PrometheusRecorder) -> Iterator[str]:
    app = make_wsgi_app(recorder, page=True)
    with make_server("127.0.0.1", 0, app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


STREAMING = [on_asyncio, as_asgi]
FOUR_WAYS = [*STREAMING, in_thread, as_wsgi]


@pytest.fixture(params=FOUR_WAYS, ids=lambda way: way.__name__)
def url(request: pytest.FixtureRequest, recorder: PrometheusRecorder) -> Iterator[str]:
    way: Callable[[PrometheusRecorder], AbstractContextManager[str]] = request.param
    with way(recorder) as url:
        yield url


@pytest.fixture(params=STREAMING, ids=lambda way: way.__name__)
def streaming(request: pytest.FixtureRequest, recorder: PrometheusRecorder) -> Iterator[str]:
    way: Callable[[PrometheusRecorder], AbstractContextManager[str]] = request.param
    with way(recorder) as url:
        yield url


def test_the_page_is_one_file_and_may_load_nothing(url: str) -> None:
    for path in ("/agentmetrics", "/agentmetrics/"):
        answer = httpx.get(f"{url}{path}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.text.startswith("<!doctype html>")
    assert httpx.head(f"{url}/agentmetrics").content == b""


def test_the_state_has_what_metrics_has(url: str, recorder: PrometheusRecorder) -> None:
    state = httpx.get(f"{url}/agentmetrics/state").json()["state"]
    (row,) = state["agents"]
    assert (row["name"], row["calls_total"]) == ("planner", 3)
    assert "llm_calls_total" in httpx.get(f"{url}/metrics").text


def test_the_last_runs_are_told_from_the_first_look_on(
    url: str, recorder: PrometheusRecorder
) -> None:
    def told(part: str, last: str = "") -> Any:
        return httpx.get(f"{url}/agentmetrics/{part}", params={"last": last}).json()

    assert told("runs")["runs"]["agents"] == {}
    with track_run("planner", recorder=recorder):
        record_call("openai", "gpt-4o-mini", recorder=recorder)
    first = told("runs")
    ((_, ended, seconds, calls, tools, tokens, usd, status),) = first["runs"]["agents"]["planner"]
    assert 0 <= time.time() - ended < 30
    assert seconds > 0
    assert (calls, tools, tokens, usd, status) == (1, 0, 0, 0, "success")
    assert told("runs", first["last"])["runs"]["agents"] == {"planner": []}
    assert told("state")["runs"]["agents"] == first["runs"]["agents"]


def test_the_page_is_only_to_be_read(url: str) -> None:
    answer = httpx.post(f"{url}/agentmetrics")
    assert (answer.status_code, answer.headers.get("Allow")) in {
        (405, "GET, HEAD"),
        (405, "GET,HEAD"),
    }


def test_a_site_whose_name_means_this_machine_reads_nothing(recorder: PrometheusRecorder) -> None:
    for way in (on_asyncio, in_thread):
        with way(recorder) as url:
            answer = httpx.get(f"{url}/agentmetrics/state", headers={"Host": "attacker.example"})
            assert answer.status_code == 403
            assert "AGENTMETRICS_PAGE=on" in answer.text


@pytest.mark.parametrize("way", [on_asyncio, in_thread])
def test_a_server_for_other_machines_has_no_page_unless_asked_for(
    recorder: PrometheusRecorder, way: Callable[..., AbstractContextManager[str]]
) -> None:
    with way(recorder, host="0.0.0.0") as url:
        answer = httpx.get(f"{url}/agentmetrics")
        assert "html" not in answer.headers["Content-Type"]
    with way(recorder, host="0.0.0.0", page=True) as url:
        other = {"Host": "metrics.example.com"}
        assert httpx.get(f"{url}/agentmetrics/state", headers=other).json()["state"]


def test_an_app_whose_address_nobody_knows_has_no_page_unless_asked_for(
    recorder: PrometheusRecorder,
) -> None:
    with running_asgi(make_asgi_app(recorder)) as url:
        assert "llm_calls_total" in httpx.get(f"{url}/agentmetrics").text
    transport = httpx.WSGITransport(app=make_wsgi_app(recorder))
    with httpx.Client(transport=transport, base_url="http://app") as client:
        assert "llm_calls_total" in client.get("/agentmetrics").text


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AGENTMETRICS_PAGE_TOKEN", "open sesame")
    return "open sesame"


def test_a_token_is_asked_for_in_every_part_of_the_page(with_token: str, url: str) -> None:
    for part in ("", "/state", "/events", "/runs"):
        answer = httpx.get(f"{url}/agentmetrics{part}")
        assert answer.status_code == 401, part
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert b"planner" not in answer.content
    assert httpx.get(f"{url}/agentmetrics/state", auth=("me", with_token)).status_code == 200
    bearer = {"Authorization": f"Bearer {with_token}"}
    assert httpx.get(f"{url}/agentmetrics/state", headers=bearer).status_code == 200
    assert httpx.get(f"{url}/metrics").status_code == 200


@pytest.fixture
def with_token_of_another_script(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AGENTMETRICS_PAGE_TOKEN", "пароль:9")
    return "пароль:9"


def test_a_token_may_be_of_any_script(with_token_of_another_script: str, url: str) -> None:
    bearer = {b"Authorization": f"Bearer {with_token_of_another_script}".encode()}
    assert httpx.get(f"{url}/agentmetrics/state", headers=bearer).status_code == 200
    password = ("me", with_token_of_another_script)
    assert httpx.get(f"{url}/agentmetrics/state", auth=password).status_code == 200


def told(url: str, times: int, last: str = "") -> list[dict[str, Any]]:
    """The first events of a stream."""
    found = []
    headers = {"Last-Event-ID": last}
    with httpx.stream("GET", f"{url}/agentmetrics/events", headers=headers) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
                if len(found) == times:
                    break
    return found


def test_the_head_of_a_stream_is_not_to_be_had(streaming: str) -> None:
    answer = httpx.head(f"{streaming}/agentmetrics/events")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


def test_events_tell_what_has_happened_since(streaming: str, recorder: PrometheusRecorder) -> None:
    (first,) = told(streaming, 1)
    record_call("openai", "gpt-4o-mini", agent_name="planner", recorder=recorder)
    (second,) = told(streaming, 1, first["last"])
    calls = [each["state"]["all"]["calls_total"] for each in (first, second)]
    assert calls == [3, 4]


def test_a_server_without_events_says_so_and_has_the_state(recorder: PrometheusRecorder) -> None:
    with in_thread(recorder) as url:
        assert httpx.get(f"{url}/agentmetrics/events").status_code == 404
        assert 'data-transport="poll"' in httpx.get(f"{url}/agentmetrics").text


def listening(url: str) -> socket.socket:
    """A client that has asked for events, and reads nothing."""
    host, _, port = url.removeprefix("http://").partition(":")
    client = socket.create_connection((host, int(port)), timeout=30)
    client.sendall(b"GET /agentmetrics/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def status_of(client: socket.socket) -> int:
    return int(client.recv(65536).split(b" ", 2)[1])


def test_of_two_hundred_clients_twenty_are_served_and_memory_is_flat(streaming: str) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with ExitStack() as until_the_end:
        clients = [until_the_end.enter_context(closing(listening(streaming))) for _ in range(200)]
        statuses = Counter(map(status_of, clients))
        assert statuses == {200: MAX_CLIENTS, 503: 200 - MAX_CLIENTS}
        assert httpx.get(f"{streaming}/metrics").status_code == 200  # nobody is kept from scraping
        assert process.memory_info().rss - before < 30e6
    freed = time.monotonic() + 30
    while httpx.get(f"{streaming}/agentmetrics/state").status_code == 503:
        assert time.monotonic() < freed
        time.sleep(0.1)


def test_a_client_that_reads_nothing_is_dropped(
    recorder: PrometheusRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(feed, "MOST_OF_A_CORE", 1e9)
    for module in (aio, asgi):
        monkeypatch.setattr(module, "SLOW_SECONDS", 0.2)
    for number in range(200):
        record_call("openai", "gpt-4o-mini", agent_name=f"agent-{number}", recorder=recorder)
    with on_asyncio(recorder) as url, closing(listening(url)) as client:
        deadline = time.monotonic() + 30
        here = client.getsockname()[1]
        while any(
            each.raddr and each.raddr.port == here for each in psutil.Process().net_connections()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_route_of_an_application_has_the_page(recorder: PrometheusRecorder) -> None:
    app = Starlette(routes=[page_route("/ops/agents", recorder)])
    with running_asgi(app) as url:
        assert httpx.get(f"{url}/ops/agents").text.startswith("<!doctype html>")
        assert httpx.get(f"{url}/ops/agents/state").json()["state"]["all"]["calls_total"] == 3
        assert httpx.get(f"{url}/ops/agentsmith").status_code == 404


SERVED = """
from agentmetrics import PrometheusRecorder
from agentmetrics.exposition import make_asgi_app
app = make_asgi_app(PrometheusRecorder(), page=True)
"""


def test_an_open_page_does_not_keep_uvicorn_from_ending(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(SERVED)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "served:app", "--port", str(port)]
    command += ["--app-dir", str(tmp_path)]
    log = tmp_path / "log"
    with (
        running(command, port=port, log=log) as process,
        closing(listening(f"http://127.0.0.1:{port}")) as client,
    ):
        assert status_of(client) == 200
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert "Traceback" not in log.read_text()


def test_the_token_of_configure_is_the_one_asked_for() -> None:
    made = PrometheusRecorder(CollectorRegistry())
    with replaced(made):
        configure(made, page_token="open sesame")
        with in_thread(made) as url:
            assert httpx.get(f"{url}/agentmetrics").status_code == 401
