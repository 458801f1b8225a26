"""gunicorn's configuration of a program that sets its MeterProvider in each worker."""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource


def post_fork(server: Any, worker: Any) -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=60_000)
    resource = Resource.create({"service.instance.id": str(worker.pid), "set.by": "post_fork"})
    metrics.set_meter_provider(MeterProvider([reader], resource))
