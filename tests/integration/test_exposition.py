"""/metrics over real HTTP, each of the four ways."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import anyio
import psutil
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from agentmetrics import PrometheusRecorder, track_call
from agentmetrics.exposition import (
    make_asgi_app,
    make_wsgi_app,
    start_http_server,
    start_http_server_in_thread,
)
from tests.services.process import free_port, running

pytestmark = pytest.mark.asyncio_alone

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def recorder() -> PrometheusRecorder:
    """Three calls of a planner: 30 input tokens, 6 output tokens."""
    recorder = PrometheusRecorder(CollectorRegistry())
    for _ in range(3):
        with track_call("openai", "gpt-4o-mini", agent_name="planner", recorder=recorder) as call:
            call.record_usage(input_tokens=10, output_tokens=2)
    return recorder


@contextmanager
def on_asyncio(recorder: PrometheusRecorder) -> Iterator[str]:
    with start_blocking_portal("asyncio") as portal:
        server = portal.call(partial(start_http_server, recorder))
        yield f"{server.url}metrics"
        portal.call(server.close)


@contextmanager
def in_thread(recorder: PrometheusRecorder) -> Iterator[str]:
    with start_http_server_in_thread(recorder) as server:
        yield server.url


@contextmanager
def as_asgi(recorder: PrometheusRecorder) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            make_asgi_app(recorder), ws="none", lifespan="on", log_level="warning"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/metrics"
        server.should_exit = True
        thread.join()


class _Silent(WSGIRequestHandler):
    def log_message(self, *arguments: object) -> None: ...


@contextmanager
def as_wsgi(recorder: PrometheusRecorder) -> Iterator[str]:
    with make_server("127.0.0.1", 0, make_wsgi_app(recorder), handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


FOUR_WAYS = [on_asyncio, in_thread, as_asgi, as_wsgi]


@pytest.fixture(params=FOUR_WAYS, ids=lambda way: way.__name__)
def url(request: pytest.FixtureRequest, recorder: PrometheusRecorder) -> Iterator[str]:
    way: Callable[[PrometheusRecorder], AbstractContextManager[str]] = request.param
    with way(recorder) as url:
        yield url


def get(url: str, **headers: str) -> HTTPResponse:
    request = urllib.request.Request(
        url, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    response: HTTPResponse = urllib.request.urlopen(request, timeout=10)
    return response


def counted(families: Iterable[Metric]) -> dict[str, float]:
    """The counter samples by name, those of one name added up."""
    found: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            if sample.name.endswith("_total"):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_text_format_by_default(url: str) -> None:
    with get(url) as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = counted(parse_text(response.read().decode()))
    assert found["llm_calls_total"] == 3
    assert found["llm_tokens_total"] == 36


def test_openmetrics_when_the_scraper_accepts_it(url: str) -> None:
    with get(url, Accept=f"{OPENMETRICS},text/plain;q=0.5") as response:
        kind = response.headers["Content-Type"]
        text = response.read().decode()
    assert kind.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert text.endswith("# EOF\n")
    assert counted(parse_openmetrics(text))["llm_tokens_total"] == 36


def test_compressed_when_the_scraper_accepts_it(url: str) -> None:
    with get(url, Accept_Encoding="gzip") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        text = gzip.decompress(response.read()).decode()
    assert counted(parse_text(text))["llm_calls_total"] == 3


def test_single_metrics_can_be_asked_for(url: str) -> None:
    with get(f"{url}?name[]=llm_calls_total&name%5B%5D=llm_errors_total") as response:
        families = list(parse_text(response.read().decode()))
    assert [family.name for family in families] == ["llm_calls", "llm_errors"]


def test_each_scrape_is_of_its_moment(url: str, recorder: PrometheusRecorder) -> None:
    call = track_call("openai", "gpt-4o-mini", agent_name="planner", recorder=recorder)
    with call, get(url) as response:
        during = response.read().decode()
    with get(url) as response:
        after = response.read().decode()
    assert 'llm_active_calls{agent_name="planner",provider="openai"} 1.0' in during
    assert 'llm_active_calls{agent_name="planner",provider="openai"} 0.0' in after
    assert counted(parse_text(after))["llm_calls_total"] == 4


def test_metrics_are_read_only(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught, get_posted(url):
        pass
    with caught.value as refused:
        assert refused.code == 405


def get_posted(url: str) -> HTTPResponse:
    response: HTTPResponse = urllib.request.urlopen(url, data=b"x", timeout=10)
    return response


def listening_address(port: int) -> set[str]:
    return {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
    }


@pytest.mark.anyio
async def test_servers_listen_on_loopback_unless_told_otherwise(
    recorder: PrometheusRecorder,
) -> None:
    server = await start_http_server(recorder)
    try:
        assert listening_address(server.socket.port) == {"127.0.0.1"}
    finally:
        await server.close()
    with start_http_server_in_thread(recorder) as thread:
        assert listening_address(thread.port) == {"127.0.0.1"}
    with start_http_server_in_thread(recorder, host="0.0.0.0") as thread:
        assert listening_address(thread.port) == {"0.0.0.0"}


@pytest.mark.anyio
async def test_a_port_in_use_is_one_sentence(recorder: PrometheusRecorder) -> None:
    with start_http_server_in_thread(recorder) as first:
        sentence = f"127.0.0.1:{first.port}: the port is in use; choose another"
        with pytest.raises(OSError, match="cannot serve metrics on") as caught:
            start_http_server_in_thread(recorder, port=first.port)
        assert caught.value.strerror == f"cannot serve metrics on {sentence}"
        with pytest.raises(OSError, match="cannot serve metrics on") as caught:
            await start_http_server(recorder, port=first.port)
        assert caught.value.strerror == f"cannot serve metrics on {sentence}"


@pytest.mark.anyio
async def test_closing_gives_the_port_back(recorder: PrometheusRecorder) -> None:
    server = await start_http_server(recorder)
    port = server.socket.port
    await server.close()
    with start_http_server_in_thread(recorder, port=port) as thread:
        assert thread.url == f"http://127.0.0.1:{port}/metrics"
    assert listening_address(port) == set()


@pytest.mark.anyio
async def test_the_root_of_the_server_leads_to_the_metrics(recorder: PrometheusRecorder) -> None:
    server = await start_http_server(recorder)
    try:
        with await anyio.to_thread.run_sync(get, server.url) as response:
            assert b'href="/metrics"' in response.read()
    finally:
        await server.close()


class _Slow(Collector):
    """A collector that takes half a second."""

    def collect(self) -> list[Metric]:
        time.sleep(0.5)
        return []


@pytest.mark.anyio
async def test_a_long_scrape_does_not_stop_the_event_loop(recorder: PrometheusRecorder) -> None:
    recorder.registry.register(_Slow())
    server = await start_http_server(recorder)
    longest, done = 0.0, anyio.Event()

    async def scrape() -> None:
        with await anyio.to_thread.run_sync(get, f"{server.url}metrics") as response:
            response.read()
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scrape)
        while not done.is_set():
            before = time.perf_counter()
            await anyio.sleep(0.01)
            longest = max(longest, time.perf_counter() - before)
    await server.close()
    assert longest < 0.3


def test_uvicorn_serves_the_bare_app(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from agentmetrics import configure\n"
        "from agentmetrics.exposition import make_asgi_app\n"
        "configure(backend='prometheus')\n"
        "app = make_asgi_app()\n"
    )
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "uvicorn", "--port", str(port), "--lifespan", "on", "shop:app"]
    with running(command, port=port, log=log, cwd=tmp_path) as process:
        with get(f"http://127.0.0.1:{port}/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        process.terminate()
        process.wait(10)
    assert "Application shutdown complete" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_multiprocess_scrape_adds_up_the_workers_and_passes_over_files_just_made(
    tmp_path: Path,
) -> None:
    program = (
        "import os\n"
        "from agentmetrics import PrometheusRecorder, track_call\n"
        "recorder = PrometheusRecorder()\n"
        "if os.fork() == 0:\n"
        "    with track_call('openai', 'gpt-4o', agent_name='a', recorder=recorder): pass\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "with track_call('openai', 'gpt-4o', agent_name='a', recorder=recorder): pass\n"
        "from agentmetrics.exposition import start_http_server_in_thread\n"
        "import urllib.request\n"
        "with start_http_server_in_thread(recorder) as server:\n"
        "    url = server.url + '?name[]=llm_calls_total'\n"
        "    print(urllib.request.urlopen(url).read().decode())\n"
    )
    for kind in ("counter", "histogram", "gauge_livesum"):  # of workers killed as they made them
        (tmp_path / f"{kind}_{os.getpid()}.db").touch()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    )
    assert counted(parse_text(done.stdout)) == {"llm_calls_total": 2}
