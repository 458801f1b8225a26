"""An OTLP/HTTP receiver of metrics on loopback, which decodes the protobuf and adds it up."""

from __future__ import annotations

import gzip
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from agentmetrics.plugin import Sample

if TYPE_CHECKING:  # every run of the tests loads this module, and not all have the package
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

DELTA = 1  # AGGREGATION_TEMPORALITY_DELTA
Attributes = frozenset[tuple[str, Any]]
Key = tuple[Attributes, str, Attributes]
"""The resource, the name and the attributes of a stream."""


@dataclass
class Stream:
    """What arrived of one stream: of a sum or gauge its value, of a histogram all there is."""

    kind: str
    unit: str
    is_delta: bool
    is_monotonic: bool = False
    value: float = 0.0
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    started: int = 0
    exemplars: list[tuple[float, str, str]] = field(default_factory=list)
    """Values with the trace and the span that they were observed in."""


class OTLPReceiver:
    """Answers with the statuses in ``answers``, in order, and else with 200.

    What it answers otherwise it does not keep. Cumulative streams have the last value that came,
    delta streams all of them added up.
    """

    def __init__(self, port: int = 0) -> None:
        self.answers: deque[int] = deque()
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        """The paths and headers, also of what was refused."""
        self.streams: dict[Key, Stream] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.receiver = self
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, holds: Callable[[], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"waited for {seconds} s: {self.names()}"
            time.sleep(0.01)

    # What was received

    def names(self) -> set[str]:
        with self._lock:
            return {name for _, name, _ in self.streams}

    def named(self, name: str, **attributes: Any) -> list[tuple[dict[str, Any], Stream]]:
        """The streams of a metric that have these attributes; ``__`` in a name is a dot."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}.items()
        with self._lock:
            return [
                (dict(of), stream)
                for (_, found, of), stream in self.streams.items()
                if found == name and wanted <= dict(of).items()
            ]

    def total(self, name: str, **attributes: Any) -> float:
        """The sum over all processes: of a histogram's sums, else of values."""
        return sum(stream.value for _, stream in self.named(name, **attributes))

    def count(self, name: str, **attributes: Any) -> int:
        """How many values histograms have."""
        return sum(sum(stream.counts) for _, stream in self.named(name, **attributes))

    def resources(self) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(resource) for resource in {resource for resource, _, _ in self.streams}]

    def samples(self) -> Iterator[Sample]:
        """As an exposition would have it."""
        with self._lock:
            streams = list(self.streams.items())
        for (_, name, attributes), stream in streams:
            labels = {key: str(value) for key, value in attributes}
            if stream.kind != "histogram":
                yield Sample(name, labels, stream.value)
                continue
            running = 0
            for bound, count in zip((*stream.bounds, float("inf")), stream.counts, strict=True):
                running += count
                yield Sample(f"{name}_bucket", {**labels, "le": str(bound)}, running)
            yield Sample(f"{name}_sum", labels, stream.value)
            yield Sample(f"{name}_count", labels, running)

    # Taking in

    def take(self, request: ExportMetricsServiceRequest) -> None:
        with self._lock:
            for of_resource in request.resource_metrics:
                resource = _attributes(of_resource.resource.attributes)
                for of_scope in of_resource.scope_metrics:
                    for metric in of_scope.metrics:
                        self._take_metric(resource, metric)

    def _take_metric(self, resource: Attributes, metric: pb.Metric) -> None:
        kind = str(metric.WhichOneof("data"))
        data = getattr(metric, kind)
        is_delta = getattr(data, "aggregation_temporality", None) == DELTA
        for point in data.data_points:
            key = resource, metric.name, _attributes(point.attributes)
            new = Stream(kind, metric.unit, is_delta, getattr(data, "is_monotonic", False))
            new.started = point.start_time_unix_nano
            if kind == "histogram":
                new.value, new.bounds = point.sum, tuple(point.explicit_bounds)
                new.counts = tuple(point.bucket_counts)
                new.exemplars = [
                    (one.as_double, one.trace_id.hex(), one.span_id.hex())
                    for one in point.exemplars
                ]
            else:
                new.value = float(getattr(point, point.WhichOneof("value")))
            before = self.streams.get(key)
            if before is not None:
                new.exemplars = before.exemplars + new.exemplars
                if is_delta and kind != "gauge":
                    new.value += before.value
                    new.counts = tuple(map(sum, zip(new.counts, before.counts, strict=True)))
            self.streams[key] = new


def _attributes(found: Any) -> Attributes:
    return frozenset((one.key, getattr(one.value, one.value.WhichOneof("value"))) for one in found)


class _Server(ThreadingHTTPServer):
    receiver: OTLPReceiver
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client may leave before it is answered."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
            ExportMetricsServiceRequest,
        )

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        receiver = self.server.receiver
        receiver.requests.append((self.path, dict(self.headers)))
        status = receiver.answers.popleft() if receiver.answers else 200
        if status == 200:
            receiver.take(ExportMetricsServiceRequest.FromString(body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: tests look at what was received."""


@pytest.fixture
def otlp(monkeypatch: pytest.MonkeyPatch) -> Iterator[OTLPReceiver]:
    """A receiver that this process exports to, by the standard variables, when it is flushed."""
    receiver = OTLPReceiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    yield receiver
    receiver.close()
