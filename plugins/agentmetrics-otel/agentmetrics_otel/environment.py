"""The standard OTEL_* variables, of which a provider of our own is made.

Endpoints, headers, certificates, timeouts, compression and temporality are read by the exporter
itself, the resource by the SDK: https://opentelemetry.io/docs/specs/otel/configuration/
"""

from __future__ import annotations

import math
import os
import uuid
from urllib.parse import urlsplit

from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import Resource

from agentmetrics import ConfigurationError

EXPORTER = "OTEL_METRICS_EXPORTER"
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
DEFAULT_INTERVAL_MILLIS = "60000"
PROTOCOLS = ("http/protobuf", "grpc")


def _of_metrics(name: str) -> tuple[str, str]:
    """A variable of the OTLP exporter, that of metrics before that of all signals, and its value;
    empty variables count as unset."""
    for variable in (f"OTEL_EXPORTER_OTLP_METRICS_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        value = os.environ.get(variable, "").strip()
        if value:
            return variable, value
    return f"OTEL_EXPORTER_OTLP_{name}", ""


def is_exported() -> bool:
    """Whether metrics are to be exported at all.

    Raises ``ConfigurationError`` for an exporter that we do not make.
    """
    exporter = os.environ.get(EXPORTER, "").strip() or "otlp"
    if exporter not in ("otlp", "none"):
        raise ConfigurationError(
            f"{EXPORTER}={exporter!r} cannot be made here: write {EXPORTER}=otlp or none, or set a "
            "MeterProvider of your own before agentmetrics is used"
        )
    return exporter == "otlp" and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


def interval_seconds() -> float:
    """The time between two exports, of ``OTEL_METRIC_EXPORT_INTERVAL``, which is milliseconds.

    Raises ``ConfigurationError``.
    """
    text = os.environ.get(INTERVAL, "").strip() or DEFAULT_INTERVAL_MILLIS
    try:
        millis = float(text)
    except ValueError:
        millis = math.nan
    if not 0 < millis < 1e9:
        raise ConfigurationError(
            f"{INTERVAL}={text!r} is no interval: write milliseconds above 0, as in "
            f"{INTERVAL}=15000"
        )
    return millis / 1000


def make_exporter(timeout_seconds: float | None = None) -> MetricExporter:
    """The OTLP exporter that the variables ask for, with their timeout unless one is given.

    Nothing is connected. Raises ``ConfigurationError``.
    """
    variable, protocol = _of_metrics("PROTOCOL")
    protocol = protocol or PROTOCOLS[0]
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        _check_endpoint()
        return OTLPMetricExporter(timeout=timeout_seconds)
    if protocol == "grpc":
        return _grpc_exporter(variable, timeout_seconds)
    raise ConfigurationError(
        f"{variable}={protocol!r} is no protocol: write one of {', '.join(PROTOCOLS)}"
    )


def _grpc_exporter(variable: str, timeout_seconds: float | None) -> MetricExporter:
    try:
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"{variable}='grpc': it needs the package 'opentelemetry-exporter-otlp-proto-grpc'; "
            "install it with: pip install opentelemetry-exporter-otlp-proto-grpc"
        ) from None
    exporter: MetricExporter = metric_exporter.OTLPMetricExporter(timeout=timeout_seconds)
    return exporter


def _check_endpoint() -> None:
    variable, endpoint = _of_metrics("ENDPOINT")
    if endpoint and urlsplit(endpoint).scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{variable} does not begin with http:// or https://: write "
            f"{variable}=http://localhost:4318"
        )


def collector() -> str:
    """Where the exporter sends to, for messages: no path, no query and no password."""
    _, protocol = _of_metrics("PROTOCOL")
    _, endpoint = _of_metrics("ENDPOINT")
    if not endpoint:
        return "localhost:4317" if protocol == "grpc" else "localhost:4318"
    address = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    return address.netloc.rpartition("@")[2]


def make_resource(service: str = "", service_version: str = "") -> Resource:
    """The resource of the variables, with the service's name and version where they have none.

    Each process has a ``service.instance.id`` of its own: sums of two processes without one would
    overwrite each other.
    """
    found = Resource.create()
    more: dict[str, str] = {}
    if service and str(found.attributes.get("service.name", "")).startswith("unknown_service"):
        more["service.name"] = service
    if service_version and "service.version" not in found.attributes:
        more["service.version"] = service_version
    if "service.instance.id" not in found.attributes:
        more["service.instance.id"] = str(uuid.uuid4())
    return found.merge(Resource(more))
