"""What one request of a WSGI application counts as."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import http_flask
import pytest

from agentmetrics import ConfigurationError, MemoryRecorder, track_call
from agentmetrics.config.active import replaced
from agentmetrics.plugin import Options, pipeline_of
from agentmetrics_asgi import WSGIMetricsMiddleware

HTML = [("Content-Type", "text/html")]


def answering(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", HTML)
    return [b"ok"]


def environment(**more: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    return {**environ, "QUERY_STRING": "", **more}


def answer(app: Any, *, reads: int | None = None, **environ: Any) -> tuple[str, list[bytes]]:
    """What a server does, by the letter of PEP 3333, for a client that reads so many parts."""
    begun: list[str] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        begun.append(status)
        return written.append

    response = app(environment(**environ), start_response)
    try:
        parts = iter(response)
        while reads is None or reads > 0:
            part = next(parts, None)
            if part is None:
                break
            written.append(part)
            reads = None if reads is None else reads - 1
    finally:
        getattr(response, "close", lambda: None)()
    return begun[-1], written


class Closed:
    """A body in parts that says when it was closed."""

    def __init__(self, *parts: bytes, fails: bool = False) -> None:
        self.parts, self.fails, self.is_closed = parts, fails, False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        if self.fails:
            raise ValueError("a secret")

    def close(self) -> None:
        self.is_closed = True


def serving(body: Any, *headers: tuple[str, str], status: str = "200 OK") -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, [*HTML, *headers])
        return body

    return app


@pytest.fixture
def counted(recorder: MemoryRecorder) -> Any:
    """The statuses of all requests so far."""
    return lambda: {
        s.labels["status"]: s.value for s in recorder.samples() if s.name == "http_requests_total"
    }


def test_an_application_behind_the_middleware_keeps_to_the_specification(
    recorder: MemoryRecorder, counted: Any
) -> None:
    app = validator(WSGIMetricsMiddleware(validator(answering), recorder=recorder))
    assert answer(app) == ("200 OK", [b"ok"])
    assert counted() == {"200": 1}


def test_bodies_are_measured(recorder: MemoryRecorder) -> None:
    app = WSGIMetricsMiddleware(http_flask.flask(), recorder=recorder)
    body: dict[str, Any] = {"wsgi.input": io.BytesIO(b"x" * 300), "CONTENT_LENGTH": "300"}
    sent = answer(app, REQUEST_METHOD="POST", PATH_INFO="/echo", **body)
    assert sent == ("200 OK", [b"x" * 300])
    assert recorder.histogram("http_request_size_bytes", endpoint="/echo").sum == 300
    assert recorder.histogram("http_response_size_bytes", endpoint="/echo").sum == 300


def test_what_is_written_by_the_old_callable_is_measured(recorder: MemoryRecorder) -> None:
    def writing(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", HTML)
        write(b"abc")
        return []

    assert answer(WSGIMetricsMiddleware(writing, recorder=recorder))[1] == [b"abc"]
    assert recorder.histogram("http_response_size_bytes").sum == 3


def test_a_stream_s_lifetime_is_not_in_the_latency(recorder: MemoryRecorder) -> None:
    body = Closed(b"a", b"b")
    app = WSGIMetricsMiddleware(serving(body), recorder=recorder)
    assert answer(app)[1] == [b"a", b"b"]
    assert body.is_closed
    assert recorder.histogram("http_stream_duration_seconds").count == 1
    assert recorder.histogram("http_time_to_first_byte_seconds").count == 1
    assert recorder.histogram("http_request_duration_seconds").count == 0


def test_parts_of_a_known_length_are_no_stream(recorder: MemoryRecorder) -> None:
    app = serving(Closed(b"a", b"b"), ("content-length", "2"))
    answer(WSGIMetricsMiddleware(app, recorder=recorder))
    assert recorder.histogram("http_stream_duration_seconds").count == 0
    assert recorder.histogram("http_request_duration_seconds").count == 1


def test_an_event_stream_without_an_event_is_a_stream(recorder: MemoryRecorder) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/event-stream; charset=utf-8")])
        return Closed()

    answer(WSGIMetricsMiddleware(app, recorder=recorder))
    assert recorder.histogram("http_stream_duration_seconds").count == 1


def test_a_client_that_goes_is_499_and_its_response_is_closed(
    recorder: MemoryRecorder, counted: Any
) -> None:
    body = Closed(b"a", b"b")
    answer(WSGIMetricsMiddleware(serving(body), recorder=recorder), reads=1)
    assert counted() == {"499": 1}
    assert body.is_closed
    assert recorder.value("http_errors_total") == 0


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No Content")],
)
def test_a_response_without_a_body_that_is_not_read_is_no_499(
    recorder: MemoryRecorder, counted: Any, method: str, status: str
) -> None:
    app = serving(Closed(b"a", b"b"), status=status)
    answer(WSGIMetricsMiddleware(app, recorder=recorder), reads=0, REQUEST_METHOD=method)
    assert counted() == {status[:3]: 1}


def test_an_error_is_500_and_goes_on_to_the_server(recorder: MemoryRecorder, counted: Any) -> None:
    def failing(environ: Any, start_response: Any) -> Any:
        raise ValueError("a secret")

    body = Closed(b"a", fails=True)
    for app in (failing, serving(body)):
        with pytest.raises(ValueError, match="a secret"):
            answer(WSGIMetricsMiddleware(app, recorder=recorder))
    assert counted() == {"500": 2}
    assert body.is_closed
    assert recorder.value("http_errors_total") == 2
    assert recorder.value("http_requests_active") == 0


def test_the_status_of_an_error_page_is_that_which_was_sent(
    recorder: MemoryRecorder, counted: Any
) -> None:
    def recovering(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", HTML)
        try:
            raise ValueError("a secret")
        except ValueError as error:
            start_response("503 Busy", HTML, (type(error), error, error.__traceback__))
        return [b"busy"]

    answer(WSGIMetricsMiddleware(recovering, recorder=recorder))
    assert counted() == {"503": 1}


def test_two_middlewares_count_once(recorder: MemoryRecorder, counted: Any) -> None:
    inner = WSGIMetricsMiddleware(answering, recorder=recorder)
    answer(WSGIMetricsMiddleware(inner, recorder=recorder))
    assert counted() == {"200": 1}


@pytest.mark.parametrize(
    "environ",
    [
        {"REQUEST_METHOD": "FOO\nBAR"},
        {"REQUEST_METHOD": None},
        {"REQUEST_METHOD": []},
        {"REQUEST_METHOD": "other", "CONTENT_LENGTH": "\xb2"},
        {"REQUEST_METHOD": "other", "CONTENT_LENGTH": "-1"},
        {"REQUEST_METHOD": "other", "CONTENT_LENGTH": "9" * 10_000_000},
        {"REQUEST_METHOD": "other", "HTTP_X_BIG": "x" * 10_000_000},
        {"REQUEST_METHOD": "other", "PATH_INFO": "/\xff\x00\n"},
        {"REQUEST_METHOD": "other", "PATH_INFO": "/\u20ac"},
    ],
    ids=str,
)
def test_bad_input_is_answered_and_counted(recorder: MemoryRecorder, environ: Any) -> None:
    app = WSGIMetricsMiddleware(answering, recorder=recorder)
    assert answer(app, **environ) == ("200 OK", [b"ok"])
    assert recorder.value("http_requests_total", method="other", endpoint="unmatched") == 1
    assert recorder.histogram("http_request_size_bytes").sum == 0
    assert recorder.value("agentmetrics_handler_errors_total") == 0


def test_a_status_that_is_no_number_is_answered_and_counted(recorder: MemoryRecorder) -> None:
    app = WSGIMetricsMiddleware(serving([b"ok"], status="OK"), recorder=recorder)
    assert answer(app) == ("OK", [b"ok"])
    assert recorder.value("http_requests_total", status="other") == 1


def test_excluded_requests_are_not_recorded(recorder: MemoryRecorder, counted: Any) -> None:
    excluded = ["/items/<int:item_id>", "/bo*"]
    app = WSGIMetricsMiddleware(http_flask.flask(), recorder=recorder, excluded=excluded)
    for path in ("/items/7", "/boom", "/nothing"):
        answer(app, PATH_INFO=path)
    assert counted() == {"404": 1}
    assert recorder.value("http_requests_active") == 0


def test_the_labels_of_a_request_are_those_of_its_stream_and_of_nothing_after_it() -> None:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    with replaced(recorder):
        app = WSGIMetricsMiddleware(
            http_flask.flask(), labels=lambda environ: {"tenant": environ["HTTP_X_TENANT"]}
        )
        answer(app, PATH_INFO="/events", HTTP_X_TENANT="acme")
        answer(app, PATH_INFO="/events", HTTP_X_TENANT="globex", reads=1)
        answer(app, PATH_INFO="/events")  # its function fails, and nothing else
        with track_call("openai", "gpt-4o", agent_name="afterwards"):
            pass
    streamed = {
        tenant: recorder.value("llm_calls_total", agent_name="stream", tenant=tenant)
        for tenant in ("acme", "globex", "")
    }
    assert streamed == {"acme": 1, "globex": 1, "": 1}
    assert recorder.value("llm_calls_total", agent_name="afterwards", tenant="") == 1
    assert recorder.value("agentmetrics_handler_errors_total", event="http_request") == 1


def test_labels_are_there_for_excluded_requests_too() -> None:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    with replaced(recorder):
        app = WSGIMetricsMiddleware(
            http_flask.flask(), labels=lambda environ: {"tenant": "acme"}, excluded=["/events"]
        )
        answer(app, PATH_INFO="/events")
    assert recorder.value("llm_calls_total", tenant="acme") == 1
    assert recorder.value("http_requests_total") == 0


def test_the_metrics_path_says_why_it_has_no_metrics(
    recorder: MemoryRecorder, counted: Any
) -> None:
    app = WSGIMetricsMiddleware(answering, recorder=recorder, metrics_path="/metrics")
    why = b"MemoryRecorder contains no PrometheusRecorder, which /metrics needs\n"
    assert answer(app, PATH_INFO="/metrics") == ("503 Service Unavailable", [why])
    assert counted() == {}


@pytest.mark.parametrize("options", [{"excluded": "/health"}, {"metrics_path": "x"}, {"labels": 7}])
def test_what_cannot_be_is_one_sentence(recorder: MemoryRecorder, options: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{next(iter(options))}="):
        WSGIMetricsMiddleware(answering, recorder=recorder, **options)
