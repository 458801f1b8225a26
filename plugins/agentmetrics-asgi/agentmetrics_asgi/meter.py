"""HTTP requests and websockets as metrics."""

from __future__ import annotations

from functools import partial

from agentmetrics import Metric
from agentmetrics.plugin import (
    LATENCY_BUCKETS,
    Batch,
    Bundles,
    ForkAware,
    HistogramSeries,
    Instruments,
    add_rows,
    row,
    watch_forks,
)
from agentmetrics_asgi.exchange import FAILED, Exchange

SUCCESS, ERROR, CANCELLED, REJECTED = "success", "error", "cancelled", "rejected"
WEBSOCKETS = Metric(
    "http_websockets_total",
    "counter",
    "Websocket connections that ended, or were rejected.",
    ("endpoint", "status"),
    closed_labels=frozenset({"status"}),
)
WEBSOCKETS_ACTIVE = Metric(
    "http_websockets_active", "gauge", "Websocket connections that are open.", merge="sum"
)
WEBSOCKET_DURATION = Metric(
    "http_websocket_duration_seconds",
    "histogram",
    "Lifetime of a websocket connection that was accepted.",
    ("endpoint",),
    "seconds",
    LATENCY_BUCKETS,
)
add_rows(
    WEBSOCKETS,
    WEBSOCKETS_ACTIVE,
    WEBSOCKET_DURATION,
    label_values={"status": (SUCCESS, ERROR, CANCELLED, REJECTED)},
)

_WHOLE, _BEGUN, _STREAM = "whole", "begun", "stream"


class HTTPMeter(ForkAware):
    """The instruments of HTTP requests, and the requests that are in progress.

    Raises ``ConfigurationError`` where something else has the name of one of them.
    """

    def __init__(self, make: Instruments) -> None:
        requests = make.counter(row("http_requests_total"))
        errors = make.counter(row("http_errors_total"))
        duration = make.histogram(row("http_request_duration_seconds"))
        first_byte = make.histogram(row("http_time_to_first_byte_seconds"))
        stream_duration = make.histogram(row("http_stream_duration_seconds"))
        request_size = make.histogram(row("http_request_size_bytes"))
        response_size = make.histogram(row("http_response_size_bytes"))
        self.open: set[Exchange] = set()
        self._methods: set[tuple[str, ...]] = set()
        """Those that were recorded, which are shown with 0 while none is in progress."""
        make.observe(row("http_requests_active"), self._active)
        self._step = make.recorder.update()

        def bind(method: str, endpoint: str, status: str, kind: str) -> Batch:
            route = {"method": method, "endpoint": endpoint}
            self._methods.add((method,))
            errors.labels(**route, status=FAILED)  # 0 before the first, which ``increase`` needs
            counters = [requests.labels(**route, status=status)]
            if status.startswith("5"):
                counters.append(errors.labels(**route, status=status))
            lasted = stream_duration if kind == _STREAM else duration
            observed = [lasted, request_size, response_size]
            if kind == _WHOLE:
                observed.append(first_byte)
            series = [histogram.labels(**route) for histogram in observed]
            batch = make.recorder.batch(counters, (), series)
            return partial(batch, *(1.0 for _ in counters))

        def bind_first_byte(method: str, endpoint: str) -> HistogramSeries:
            return first_byte.labels(method=method, endpoint=endpoint)

        self._series = Bundles(bind)
        self._first_byte = Bundles(bind_first_byte)
        watch_forks(self)

    def tell_first_byte(self, exchange: Exchange, endpoint: str) -> None:
        """Record the first byte of what may become a stream, which can go on for hours."""
        exchange.is_first_byte_told = True
        series = self._first_byte[(exchange.method, endpoint)]
        series.observe(exchange.first_byte - exchange.started)

    def record(self, exchange: Exchange, endpoint: str, ended: float) -> None:
        """Record a request that is over, all of it in one step.

        A response without a body has its first byte where it ends.
        """
        started, first = exchange.started, exchange.first_byte
        values = [ended - started, exchange.received, exchange.sent]
        kind = _STREAM if exchange.is_stream else _BEGUN
        is_answered = first or exchange.is_complete
        if kind == _BEGUN and is_answered and not exchange.is_first_byte_told:
            kind = _WHOLE
            values.append((first or ended) - started)
        count = self._series[(exchange.method, endpoint, exchange.status, kind)]
        with self._step:
            count(*values)

    def _active(self) -> dict[tuple[str, ...], float]:
        active = dict.fromkeys(self._methods, 0.0)
        for exchange in self.open.copy():
            labels = (exchange.method,)
            active[labels] = active.get(labels, 0.0) + 1
        return active

    def after_fork_in_child(self) -> None:
        """What is in progress is the parent's."""
        self.open.clear()


class WebsocketMeter(ForkAware):
    """The instruments of websockets, and those that are open.

    Raises ``ConfigurationError`` where something else has the name of one of them.
    """

    def __init__(self, make: Instruments) -> None:
        self._ended = make.counter(WEBSOCKETS)
        self._duration = make.histogram(WEBSOCKET_DURATION)
        self.open: set[object] = set()
        make.observe(WEBSOCKETS_ACTIVE, lambda: float(len(self.open)))
        self._step = make.recorder.update()
        watch_forks(self)

    def record(self, endpoint: str, status: str, seconds: float) -> None:
        """Record a connection that is over."""
        with self._step:
            self._ended.labels(endpoint=endpoint, status=status).inc()
            if status != REJECTED:
                self._duration.labels(endpoint=endpoint).observe(seconds)

    def after_fork_in_child(self) -> None:
        """What is open is the parent's."""
        self.open.clear()
