"""What one request counts as, on a real uvicorn: streams, clients that leave, bad input."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import http_fastapi
import http_starlette
import pytest
import websockets.exceptions
from prometheus_client import CollectorRegistry
from starlette.middleware.base import BaseHTTPMiddleware
from websockets.sync.client import connect

import agentmetrics
from agentmetrics import ConfigurationError, MemoryRecorder, PrometheusRecorder
from agentmetrics.config.active import replaced
from agentmetrics.plugin import Options, pipeline_of
from agentmetrics_asgi import MetricsMiddleware
from tests.services.webserver import Uvicorn, ask, wait_for


async def answering(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


class Served:
    """An application with the middleware on uvicorn, and what was recorded."""

    def __init__(self, port: int, recorder: MemoryRecorder) -> None:
        self.port, self.recorder = port, recorder

    def requests(self, **labels: str) -> float:
        return self.recorder.value("http_requests_total", **labels)

    def ended(self, count: int = 1, **labels: str) -> None:
        """Wait until so many requests were recorded."""
        wait_for(lambda: self.requests(**labels) == count)


@pytest.fixture
def serve(uvicorn_server: Uvicorn, recorder: MemoryRecorder) -> Callable[..., Served]:
    """For an application of the test's own, or other options."""

    def make(app: Any = None, **options: Any) -> Served:
        app = app or http_starlette.application()
        port = uvicorn_server.serve(MetricsMiddleware(app, recorder=recorder, **options))
        return Served(port, recorder)

    return make


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


def send_and_leave(port: int, request: bytes, until: bytes = b"") -> None:
    """A client that sends this and goes, at once or once it was sent ``until``."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request)
        heard = b""
        while until not in heard:
            heard += client.recv(1000)
        if not until:
            time.sleep(0.03)


class TestAResponse:
    def test_its_body_and_that_of_the_request_are_measured(self, served: Served) -> None:
        ask(served.port, "POST", "/", b"x" * 5000)
        served.ended()
        for name in ("http_request_size_bytes", "http_response_size_bytes"):
            assert served.recorder.histogram(name, endpoint="/").sum == 5000

    def test_a_body_that_the_application_does_not_read_is_measured_by_its_length(
        self, serve: Any
    ) -> None:
        async def deaf(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        served = serve(deaf)
        ask(served.port, "POST", "/", b"x" * 5000)
        served.ended()
        assert served.recorder.histogram("http_request_size_bytes").sum == 5000
        assert served.recorder.histogram("http_time_to_first_byte_seconds").count == 1

    def test_a_head_request_s_response_has_no_body(self, served: Served) -> None:
        assert ask(served.port, "HEAD", "/items/7") == (200, b"")
        served.ended(method="HEAD")
        assert served.recorder.histogram("http_response_size_bytes", method="HEAD").sum == 0

    def test_a_background_task_is_not_part_of_it(self, served: Served) -> None:
        ask(served.port, "GET", "/background")
        served.ended()  # while the task goes on
        duration = served.recorder.histogram("http_request_duration_seconds")
        assert duration.sum < http_starlette.BACKGROUND_SECONDS
        assert served.recorder.value("http_requests_active") == 0

    def test_it_is_in_progress_until_it_is_complete(self, served: Served) -> None:
        before = served.recorder.value("http_requests_active", method="GET")
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: served.recorder.value("http_requests_active", method="GET") == 1)
            client.recv(1000)
        served.ended()
        assert before == served.recorder.value("http_requests_active", method="GET") == 0
        duration = served.recorder.histogram("http_request_duration_seconds")
        assert duration.sum >= http_starlette.SLOW_SECONDS

    @pytest.mark.anyio
    async def test_a_file_that_the_server_sends_itself_has_its_length(
        self, recorder: MemoryRecorder, anyio_backend: str
    ) -> None:
        async def file(scope: Any, receive: Any, send: Any) -> None:
            head = [(b"content-length", b"12345")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.pathsend", "path": "/a/file"})

        await called(MetricsMiddleware(file, recorder=recorder))
        assert recorder.value("http_requests_total", status="200") == 1
        assert recorder.histogram("http_response_size_bytes").sum == 12345

    @pytest.mark.parametrize("begins", [False, True])
    @pytest.mark.anyio
    async def test_one_that_the_application_forgets_is_a_failure(
        self, recorder: MemoryRecorder, begins: bool, anyio_backend: str
    ) -> None:
        async def forgetful(scope: Any, receive: Any, send: Any) -> None:
            if begins:
                await send({"type": "http.response.start", "status": 200})

        await called(MetricsMiddleware(forgetful, recorder=recorder))
        assert recorder.value("http_errors_total", status="500") == 1

    def test_it_has_one_middleware_s_count_where_there_are_two(self, serve: Any) -> None:
        recorder: MemoryRecorder = serve().recorder
        app = http_starlette.application()
        app.add_middleware(MetricsMiddleware, recorder=recorder)
        app.add_middleware(MetricsMiddleware, recorder=recorder)
        served = serve(app)
        ask(served.port, "GET", "/items/7")
        served.ended()
        assert served.recorder.histogram("http_request_duration_seconds").count == 1

    def test_it_counts_in_each_of_two_recorders(self, serve: Any) -> None:
        other = MemoryRecorder()
        served = serve(MetricsMiddleware(http_starlette.application(), recorder=other))
        ask(served.port, "GET", "/items/7")
        served.ended()
        assert other.value("http_requests_total", endpoint="/items/{item_id:int}") == 1


class TestAStream:
    def test_its_lifetime_is_not_in_the_latency(self, served: Served) -> None:
        ask(served.port, "GET", "/events?count=4")
        served.ended()
        assert served.recorder.histogram("http_request_duration_seconds").count == 0
        lifetime = served.recorder.histogram("http_stream_duration_seconds")
        first_byte = served.recorder.histogram("http_time_to_first_byte_seconds")
        assert lifetime.count == first_byte.count == 1
        assert first_byte.sum + 0.06 <= lifetime.sum

    def test_its_first_byte_is_told_while_it_goes_on(self, served: Served) -> None:
        send_and_leave(
            served.port, b"GET /events?count=500 HTTP/1.1\r\nHost: a\r\n\r\n", b"data: 1"
        )
        assert served.recorder.histogram("http_time_to_first_byte_seconds").count == 1
        served.ended(status="499")
        assert served.recorder.histogram("http_time_to_first_byte_seconds").count == 1

    def test_one_that_breaks_off_is_a_failure_whatever_it_began_with(self, served: Served) -> None:
        with suppress(Exception):
            ask(served.port, "GET", "/breaking")
        served.ended(status="500")
        assert served.recorder.value("http_errors_total", endpoint="/breaking") == 1
        assert served.recorder.histogram("http_stream_duration_seconds").count == 1

    def test_a_response_of_known_length_in_parts_is_none(self, serve: Any) -> None:
        async def download(scope: Any, receive: Any, send: Any) -> None:
            head = [(b"Content-Length", b"6")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            for _ in range(3):
                await send({"type": "http.response.body", "body": b"ab", "more_body": True})
            await send({"type": "http.response.body"})

        served = serve(download)
        assert ask(served.port, "GET", "/")[1] == b"ababab"
        served.ended()
        assert served.recorder.histogram("http_request_duration_seconds").count == 1
        assert served.recorder.histogram("http_response_size_bytes").sum == 6

    def test_a_response_behind_a_middleware_that_takes_it_apart_is_none(self, serve: Any) -> None:
        async def handed_on(request: Any, call_next: Any) -> Any:
            return await call_next(request)

        served = serve(BaseHTTPMiddleware(http_starlette.application(), handed_on))
        ask(served.port, "GET", "/items/7")
        served.ended(endpoint="/items/{item_id:int}")
        assert served.recorder.histogram("http_request_duration_seconds").count == 1
        assert served.recorder.histogram("http_time_to_first_byte_seconds").count == 1


class TestAClientThatGoes:
    def test_while_a_handler_is_at_work_is_499_and_no_error(self, served: Served) -> None:
        send_and_leave(served.port, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        served.ended(status="499", endpoint="/slow")
        assert served.requests() == 1
        assert served.recorder.value("http_errors_total") == 0

    def test_in_the_middle_of_a_stream_is_499(self, served: Served) -> None:
        send_and_leave(
            served.port, b"GET /events?count=500 HTTP/1.1\r\nHost: a\r\n\r\n", b"data: 1"
        )
        served.ended(status="499", endpoint="/events")
        assert served.recorder.value("http_errors_total") == 0
        assert served.recorder.value("http_requests_active") == 0

    def test_while_it_sends_its_body_is_499(self, served: Served) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
        send_and_leave(served.port, head + b"only this")
        served.ended(status="499", endpoint="/")
        assert served.recorder.histogram("http_request_size_bytes").sum == 100

    def test_after_a_slow_answer_is_no_499(self, served: Served) -> None:
        request = b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        send_and_leave(served.port, request, b"at last")
        served.ended()
        assert served.requests(status="200") == 1

    def test_many_at_once_are_told_from_those_that_stay(self, served: Served) -> None:
        async def one(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await writer.drain()
            if number % 3:
                assert b"at last" in await reader.read()
            else:
                await asyncio.sleep(0.1)
            writer.close()

        async def all_of_them() -> None:
            await asyncio.gather(*map(one, range(60)))

        asyncio.run(all_of_them())
        wait_for(lambda: served.requests() == 60)
        assert served.requests(status="499") == 20
        assert served.requests(status="200") == 40
        assert served.recorder.value("http_requests_active") == 0


class TestALookForTheClient:
    """On servers that put messages in a queue, which Uvicorn does not."""

    @pytest.mark.parametrize("has_left", [False, True])
    @pytest.mark.anyio
    async def test_takes_nothing_from_the_application(
        self, recorder: MemoryRecorder, has_left: bool, anyio_backend: str
    ) -> None:
        empty = {"type": "http.request", "body": b"", "more_body": False}
        queue = [empty, {"type": "http.disconnect"}][: 1 + has_left]
        heard: list[Any] = []

        async def receive() -> Any:
            if not queue:
                await anyio.sleep_forever()
            return queue.pop(0)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await anyio.sleep(0.11)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"ok"})
            heard.append(await receive())
            if has_left:
                heard.append(await receive())

        async def send(message: Any) -> None: ...

        scope = {"type": "http", "path": "/", "method": "GET"}
        await MetricsMiddleware(app, recorder=recorder)(scope, receive, send)
        assert heard[0] == empty
        status = "499" if has_left else "200"
        assert recorder.value("http_requests_total", status=status) == 1

    @pytest.mark.anyio
    async def test_takes_nothing_of_a_body_that_was_not_read(
        self, recorder: MemoryRecorder, anyio_backend: str
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await anyio.sleep(0.11)
            await answering(scope, receive, send)

        async def receive() -> Any:
            raise AssertionError("it would have been sent '100 Continue'")

        async def send(message: Any) -> None: ...

        scope = {"type": "http", "path": "/", "method": "POST"}
        await MetricsMiddleware(app, recorder=recorder)(scope, receive, send)
        assert recorder.value("http_requests_total", status="200") == 1
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    @pytest.mark.anyio
    async def test_is_not_needed_where_the_request_is_cancelled(
        self, recorder: MemoryRecorder, anyio_backend: str
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01):
            await called(MetricsMiddleware(app, recorder=recorder))
        assert recorder.value("http_requests_total", status="499") == 1
        assert recorder.value("http_requests_active") == 0

    @pytest.mark.anyio
    async def test_is_not_needed_where_the_server_says_so(
        self, recorder: MemoryRecorder, anyio_backend: str
    ) -> None:
        async def send(message: Any) -> None:
            raise BrokenPipeError

        waiting: Any = anyio.sleep_forever
        scope = {"type": "http", "path": "/", "method": "GET"}
        with pytest.raises(BrokenPipeError):
            await MetricsMiddleware(answering, recorder=recorder)(scope, waiting, send)
        assert recorder.value("http_requests_total", status="499") == 1


class TestBadInput:
    @pytest.mark.parametrize(
        "request_text",
        [
            b"GET /items/7 HTTP/1.0\r\n\r\n",
            b"GET /items/7 HTTP/1.1\r\nHost: a\r\nContent-Length: \xb2\r\n\r\n",
            b"GET //items//7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET /%00%ff%0a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"BREW /items/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ],
        ids=["no headers", "no length", "double slashes", "no text", "no method"],
    )
    def test_is_answered_as_without_the_middleware(
        self, served: Served, uvicorn_server: Uvicorn, request_text: bytes
    ) -> None:
        def answered() -> bytes:
            with socket.create_connection(("127.0.0.1", served.port)) as client:
                client.sendall(request_text)
                return client.makefile("rb").readline()

        measured = answered()
        uvicorn_server.serve(http_starlette.application())
        assert answered() == measured
        methods = {s.labels["method"] for s in served.recorder.samples() if "method" in s.labels}
        assert methods <= {"GET", "other"}

    @pytest.mark.parametrize("method", ["FOO\nBAR", "get", "", None, 3, ["GET"], "X" * 10**6])
    @pytest.mark.anyio
    async def test_methods_are_a_closed_set(
        self, recorder: MemoryRecorder, method: Any, anyio_backend: str
    ) -> None:
        await called(MetricsMiddleware(answering, recorder=recorder), method=method)
        assert recorder.value("http_requests_total", method="other") == 1

    @pytest.mark.parametrize(
        "headers",
        [[(b"x-big", b"x" * 10_000_000)], [(b"content-length", b"9" * 10_000_000)], [], None],
        ids=["10 MB", "10 MB of length", "none", "no such key"],
    )
    @pytest.mark.anyio
    async def test_headers_of_any_size_cost_nothing(
        self, recorder: MemoryRecorder, headers: Any, anyio_backend: str
    ) -> None:
        more = {} if headers is None else {"headers": headers}
        await called(MetricsMiddleware(answering, recorder=recorder), method="POST", **more)
        assert recorder.value("http_requests_total", method="POST", status="200") == 1
        assert recorder.histogram("http_request_size_bytes").sum == 0

    @pytest.mark.parametrize("status", [99, 600, -1, "200", None, 10**30, [200]])
    @pytest.mark.anyio
    async def test_statuses_are_a_closed_set(
        self, recorder: MemoryRecorder, status: Any, anyio_backend: str
    ) -> None:
        async def odd(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": status})
            await send({"type": "http.response.body", "body": b"x"})

        await called(MetricsMiddleware(odd, recorder=recorder))
        assert recorder.value("http_requests_total", status="other") == 1


async def called(app: Any, **scope: Any) -> list[Any]:
    """Call an ASGI application as a server does; what it sent."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "path": "/", "method": "GET", **scope}, receive, send)
    return sent


class TestAWebsocket:
    def test_is_counted_apart_by_its_route_and_how_it_ended(self, served: Served) -> None:
        url = f"ws://127.0.0.1:{served.port}/chat/7"
        with connect(url) as socket:
            wait_for(lambda: served.recorder.value("http_websockets_active") == 1)
            socket.send("hello")
            assert socket.recv() == "hello"
        with connect(url) as socket:
            socket.send("fail")
            with pytest.raises(websockets.exceptions.ConnectionClosed):
                socket.recv()
        with pytest.raises(websockets.exceptions.InvalidStatus):
            connect(f"{url}?refused")
        wait_for(lambda: served.recorder.value("http_websockets_total") == 3)
        for status in ("success", "error", "rejected"):
            ended = {"endpoint": "/chat/{room}", "status": status}
            assert served.recorder.value("http_websockets_total", **ended) == 1
        assert served.recorder.histogram("http_websocket_duration_seconds").count == 2
        assert served.recorder.value("http_websockets_active") == 0
        assert served.requests() == 0

    @pytest.mark.anyio
    async def test_that_is_cancelled_is_no_error(
        self, recorder: MemoryRecorder, anyio_backend: str
    ) -> None:
        async def open_for_ever(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})
            await anyio.sleep_forever()

        with anyio.move_on_after(0.01):
            await called(MetricsMiddleware(open_for_ever, recorder=recorder), type="websocket")
        assert recorder.value("http_websockets_total", status="cancelled") == 1
        assert recorder.value("http_websockets_active") == 0


@pytest.mark.anyio
async def test_other_events_of_a_server_are_the_application_s(
    recorder: MemoryRecorder, anyio_backend: str
) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    lifespan = ({"type": "lifespan"}, object(), object())
    await MetricsMiddleware(app, recorder=recorder)(*lifespan)  # type: ignore[arg-type]
    assert seen == [lifespan]


@pytest.mark.anyio
@pytest.mark.parametrize("asked", [True, False])
async def test_the_event_loop_is_watched_from_the_start_where_the_settings_ask_for_it(
    anyio_backend: str, asked: bool
) -> None:
    def is_watched() -> bool:
        return recorder.histogram("event_loop_lag_seconds").count > 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with anyio.move_on_after(20 if asked else 0.3):
            while not is_watched():
                await anyio.sleep(0.02)

    with replaced(MemoryRecorder()):
        recorder = agentmetrics.configure(backend="memory", system_metrics=asked)
        assert isinstance(recorder, MemoryRecorder)
        await MetricsMiddleware(app)({"type": "lifespan"}, object(), object())  # type: ignore[arg-type]
        assert is_watched() is asked


class TestExcluded:
    def test_routes_paths_and_patterns_are_not_recorded(self, serve: Any) -> None:
        excluded = ["/items/{item_id:int}", "/nothing", "/api/*"]
        served = serve(excluded=excluded)
        for path in ("/items/7", "/nothing", "/api/items/7", "/tenants/acme/items/7", "/"):
            ask(served.port, "GET", path)
        served.ended(2)
        assert served.requests(endpoint="/tenants/{tenant}/items/{item_id:int}") == 1
        assert served.requests(endpoint="/") == 1
        assert served.recorder.value("http_requests_active") == 0

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"excluded": "/health"}, r"excluded='/health' is one text: pass a list, as in .*"),
            ({"excluded": [7]}, r"excluded has 7, which is no text: pass route templates .*"),
            ({"labels": {"tenant": "acme"}}, r"labels=.* cannot be called: pass a function .*"),
            ({"labels": answering}, r"labels=.* is a coroutine function: pass a function .*"),
            ({"metrics_path": "metrics"}, r"metrics_path='metrics' is no path: write one .*"),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, options: Any, sentence: str) -> None:
        with pytest.raises(ConfigurationError, match=sentence):
            MetricsMiddleware(answering, recorder=MemoryRecorder(), **options)


class TestTheMetricsPath:
    def test_answers_with_the_metrics_of_the_recorder_in_use(
        self, uvicorn_server: Uvicorn, recorder: MemoryRecorder
    ) -> None:
        with replaced(recorder):
            app = MetricsMiddleware(http_starlette.application(), metrics_path="/metrics")
            port = uvicorn_server.serve(app, root_path="/proxy")
            status, said = ask(port, "GET", "/metrics")
            assert status == 503
            assert b"no Prometheus backend is configured: set AGENTMETRICS_BACKEND" in said
            assert ask(port, "GET", "/items/7")[0] == 200
            with replaced(PrometheusRecorder(CollectorRegistry())):
                assert ask(port, "GET", "/items/7")[0] == 200
                assert ask(port, "GET", "/metrics")[0] == 200
                status, exposed = ask(port, "GET", "/metrics")
        assert status == 200
        counted = [line for line in exposed.splitlines() if line.startswith(b"http_requests_total")]
        assert len(counted) == 1  # neither scrape
        assert counted[0].endswith(b" 1.0")


class TestLabels:
    def test_agent_calls_of_a_request_have_its_labels_in_threads_too(self, serve: Any) -> None:
        def tenant(scope: Any) -> Any:
            return {"tenant": dict(scope["headers"])[b"x-tenant"].decode()}

        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(extra_labels=("tenant",)))
        with replaced(recorder):
            served = serve(http_fastapi.application(), labels=tenant)
            for name in ("acme", "globex"):
                assert ask(served.port, "GET", "/agent", headers={"x-tenant": name})[0] == 200
            ask(served.port, "GET", "/agent")  # its function fails, and nothing else
        for agent in ("dependency", "endpoint"):
            for name in ("acme", "globex", ""):
                of = {"agent_name": agent, "tenant": name}
                assert recorder.value("llm_calls_total", **of) == 1
        failed = {"event": "http_request"}
        assert served.recorder.value("agentmetrics_handler_errors_total", **failed) == 1
