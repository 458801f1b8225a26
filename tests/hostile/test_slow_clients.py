"""Clients of /metrics that send nothing, read nothing, or ask too much at once."""

from __future__ import annotations

import functools
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType

import anyio
import psutil
import pytest
from anyio import to_thread
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from agentmetrics import PrometheusRecorder, track_call
from agentmetrics.exposition import (
    aio,
    apps,
    make_asgi_app,
    make_wsgi_app,
    start_http_server,
    start_http_server_in_thread,
    threaded,
)
from tests.hostile.conftest import Proves

MANY = 300
UNREAD = 20
"""Clients that read nothing of six megabytes, which are in memory for each."""
ASK = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class Large(Collector):
    """Six megabytes, made in no time: more than a connection takes that nobody reads."""

    def collect(self) -> list[Metric]:
        family = Metric("large", "Large.", "gauge")
        for number in range(4):
            family.add_sample("large", {"text": "x" * 1_500_000, "number": str(number)}, 1)
        return [family]


class Held(Collector):
    """Scrapes that are not answered before they are let go."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.entered = threading.Semaphore(0)

    def collect(self) -> list[Metric]:
        self.entered.release()
        assert self.may_go.wait(60)
        return []


@pytest.fixture
def recorder() -> PrometheusRecorder:
    recorder = PrometheusRecorder(CollectorRegistry())
    with track_call("openai", "gpt-4o-mini", agent_name="planner", recorder=recorder) as call:
        call.record_usage(input_tokens=10, output_tokens=2)
    return recorder


@pytest.fixture
def hurried(
    recorder: PrometheusRecorder, monkeypatch: pytest.MonkeyPatch
) -> Callable[[ModuleType, float], None]:
    """``hurried(threaded, 0.2)``: a connection to this server has so many seconds for its request
    and as many for the response, which is large."""

    def hurry(server: ModuleType, seconds: float) -> None:
        recorder.registry.register(Large())
        monkeypatch.setattr(server, "REQUEST_SECONDS", seconds)
        monkeypatch.setattr(server, "RESPONSE_SECONDS", seconds)

    return hurry


@pytest.fixture
def held(recorder: PrometheusRecorder) -> Iterator[Held]:
    held = Held()
    recorder.registry.register(held)
    yield held
    held.may_go.set()


def eventually(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connected(
    stack: ExitStack, port: int, sent: bytes = b"", many: int = MANY
) -> list[socket.socket]:
    made = []
    for _ in range(many):
        connection = stack.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        connection.sendall(sent)
        made.append(connection)
    return made


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def held_by_server(port: int) -> int:
    """How many connections a server in this process has."""
    connections = psutil.Process().net_connections("tcp")
    return sum(bool(each.raddr) and each.laddr.port == port for each in connections)


class TestTheThreadServer:
    @pytest.mark.parametrize(
        "sent",
        [b"", b"GET /metrics HTTP/1.1\r\nAcc", ASK],
        ids=["nothing is sent", "half a request is sent", "nothing is read"],
    )
    def test_connections_that_send_or_read_nothing_have_few_threads_and_keep_out_no_scraper(
        self, recorder: PrometheusRecorder, sent: bytes, proves: Proves
    ) -> None:
        recorder.registry.register(Large())
        before = threading.active_count()
        with start_http_server_in_thread(recorder) as server, ExitStack() as stack:
            connected(stack, server.port, sent)
            assert threading.active_count() <= before + 1 + threaded.MAX_CONNECTIONS
            began = time.monotonic()
            eventually(lambda: status(server.url) == 200)
            seconds = time.monotonic() - began
            threads = threading.active_count() - before
            assert threads <= 1 + threaded.MAX_CONNECTIONS
        eventually(lambda: threading.active_count() <= before)
        proves(
            f"{MANY} connections to the server of start_http_server_in_thread",
            f"{threads} threads, of at most {threaded.MAX_CONNECTIONS + 1}; a scrape is answered "
            f"after {seconds:.1f} s",
        )

    def test_one_connection_too_many_is_told_so(self, recorder: PrometheusRecorder) -> None:
        with start_http_server_in_thread(recorder) as server, ExitStack() as stack:
            *_, last = connected(stack, server.port, many=threaded.MAX_CONNECTIONS + 1)
            assert last.recv(1000).startswith(b"HTTP/1.0 503 Service Unavailable\r\n")

    @pytest.mark.parametrize("sent", [b"", ASK])
    def test_a_connection_that_is_not_done_in_time_is_closed(
        self, recorder: PrometheusRecorder, hurried: Callable[..., None], sent: bytes
    ) -> None:
        hurried(threaded, 0.2)
        before = threading.active_count()
        with start_http_server_in_thread(recorder) as server, ExitStack() as stack:
            connected(stack, server.port, sent, many=1)
            eventually(lambda: held_by_server(server.port) == 1)
            eventually(lambda: held_by_server(server.port) == 0)
            assert threading.active_count() <= before + 1

    def test_a_request_that_comes_byte_by_byte_is_not_waited_for(
        self, recorder: PrometheusRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(threaded, "REQUEST_SECONDS", 0.5)
        with start_http_server_in_thread(recorder) as server, ExitStack() as stack:
            (connection,) = connected(stack, server.port, b"GET /", many=1)

            def one_more_is_refused() -> bool:
                try:
                    connection.sendall(b"x")
                except ConnectionError:
                    return True
                return False

            eventually(one_more_is_refused)

    def test_headers_without_end_are_refused(self, recorder: PrometheusRecorder) -> None:
        headers = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 60_000) for n in range(4))
        with start_http_server_in_thread(recorder) as server, ExitStack() as stack:
            (connection,) = connected(stack, server.port, many=1)
            connection.sendall(ASK[:-2] + headers)
            assert connection.recv(1000).startswith(b"HTTP/1.0 431 ")

    def test_a_scrape_in_the_making_is_not_given_up_for_another(
        self, recorder: PrometheusRecorder, held: Held
    ) -> None:
        with start_http_server_in_thread(recorder) as server, ExitStack() as stack:
            (first,) = connected(stack, server.port, ASK, many=1)
            assert held.entered.acquire(timeout=60)
            connected(stack, server.port, many=threaded.MAX_CONNECTIONS + 5)
            held.may_go.set()
            assert first.recv(1000).startswith(b"HTTP/1.0 200 OK")


class TestTheAsyncioServer:
    pytestmark = pytest.mark.asyncio_alone

    @pytest.mark.parametrize(
        ("sent", "many"), [(b"", MANY), (ASK, UNREAD)], ids=["nothing is sent", "nothing is read"]
    )
    def test_connections_that_send_or_read_nothing_are_closed_and_keep_out_no_scraper(
        self,
        recorder: PrometheusRecorder,
        hurried: Callable[..., None],
        sent: bytes,
        many: int,
        proves: Proves,
    ) -> None:
        hurried(aio, 1.0)
        with start_blocking_portal("asyncio") as portal, ExitStack() as stack:
            server = portal.call(functools.partial(start_http_server, recorder))
            connected(stack, server.socket.port, sent, many)
            began = time.monotonic()
            eventually(lambda: status(f"{server.url}metrics") == 200)
            seconds = time.monotonic() - began
            eventually(lambda: held_by_server(server.socket.port) <= 1)  # the scraper's
            portal.call(server.close)
        proves(
            f"{many} connections to the server of start_http_server, deadlines of 1 s",
            f"0 left open; a scrape is answered after {seconds:.1f} s",
        )


Answer = Callable[[dict[str, object]], str]


class TestTheApplications:
    @pytest.mark.anyio
    async def test_slow_scrapes_take_no_thread_of_the_application(
        self, recorder: PrometheusRecorder, held: Held, anyio_backend: str, proves: Proves
    ) -> None:
        app, statuses = make_asgi_app(recorder), []

        async def send(event: dict[str, object]) -> None:
            if event["type"] == "http.response.start":
                statuses.append(event["status"])

        async def receive() -> dict[str, object]:
            return {"type": "http.request"}

        scope = {"type": "http", "method": "GET", "headers": []}
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(MANY):
                    tasks.start_soon(app, scope, receive, send)
                while len(statuses) < MANY - apps.MAX_THREADS - apps.MAX_WAITING:
                    await anyio.sleep(0.01)
                pool = to_thread.current_default_thread_limiter()
                assert pool.borrowed_tokens == 0
                async with anyio.create_task_group() as own:
                    for _ in range(int(pool.total_tokens)):
                        own.start_soon(to_thread.run_sync, time.sleep, 0)
                assert set(statuses) == {503}
                held.may_go.set()
        assert statuses.count(200) == apps.MAX_THREADS + apps.MAX_WAITING
        assert len(statuses) == MANY
        proves(
            f"{MANY} scrapes at a time of an ASGI application",
            f"{apps.MAX_THREADS} threads of its own and 0 of the application's pool; "
            f"{statuses.count(200)} are answered, {statuses.count(503)} told at once to come again",
        )

    def test_a_wsgi_application_that_is_busy_says_so_at_once(
        self, recorder: PrometheusRecorder, held: Held, proves: Proves
    ) -> None:
        app = make_wsgi_app(recorder)
        answers: list[str] = []

        def ask() -> None:
            list(app({"REQUEST_METHOD": "GET"}, lambda status, headers: answers.append(status)))

        threads = [threading.Thread(target=ask) for _ in range(apps.MAX_SCRAPES)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert held.entered.acquire(timeout=60)
        more = MANY - apps.MAX_SCRAPES
        for _ in range(more):
            ask()
        assert answers == ["503 Service Unavailable"] * more
        held.may_go.set()
        for thread in threads:
            thread.join(60)
        ask()
        assert answers[more:] == ["200 OK"] * (apps.MAX_SCRAPES + 1)
        proves(
            f"{MANY} scrapes of a WSGI application, {apps.MAX_SCRAPES} of which are not done yet",
            f"{more} told at once to come again; {apps.MAX_SCRAPES} threads held",
        )


header = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60),
    st.builds(
        "{};version={};escaping={};q={}".format,
        st.sampled_from(["application/openmetrics-text", "text/plain", "*/*", ""]),
        st.sampled_from(["abc", "", "1", "1.0.0", "9" * 5000, "1.x.0", "-1.0.0", "²", "1.0.0\xa0"])
        | st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=9),
        st.sampled_from(["allow-utf-8", "values", "", "x"]),
        st.sampled_from(["0.5", "x", ""]),
    ),
)
headers = st.lists(header, max_size=3).map(",".join)


@given(headers, headers, st.one_of(headers, st.builds("name[]={}".format, headers)))
@settings(deadline=None)
def test_whatever_a_scraper_accepts_it_is_answered_with_text(accept, encoding, query):
    recorder = PrometheusRecorder(CollectorRegistry())
    with track_call("openai", "gpt-4o-mini", recorder=recorder) as call:
        call.record_usage(input_tokens=10, output_tokens=2)
    app, started = make_wsgi_app(recorder), []
    environ = {
        "REQUEST_METHOD": "GET",
        "HTTP_ACCEPT": accept,
        "HTTP_ACCEPT_ENCODING": encoding,
        "QUERY_STRING": query,
    }
    body = b"".join(app(environ, lambda status, headers: started.append((status, headers))))
    ((answered, given_headers),) = started
    assert answered == "200 OK"
    kind = dict(given_headers)["Content-Type"]
    assert kind.isascii()
    assert kind.startswith(("text/plain; version=", "application/openmetrics-text; version="))
    assert body or "name[]" in query
    assert recorder.exposition(accept).body


@pytest.mark.parametrize("start", ["thread", "asyncio"])
def test_a_version_that_is_none_is_answered_with_text_over_http(
    recorder: PrometheusRecorder, start: str
) -> None:
    with ExitStack() as stack:
        if start == "thread":
            url = stack.enter_context(start_http_server_in_thread(recorder)).url
        else:
            portal = stack.enter_context(start_blocking_portal("asyncio"))
            server = portal.call(functools.partial(start_http_server, recorder))
            stack.callback(portal.call, server.close)
            url = f"{server.url}metrics"
        asked = {"Accept": "application/openmetrics-text; version=abc"}
        with urllib.request.urlopen(urllib.request.Request(url, headers=asked)) as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"llm_calls_total{" in response.read()
