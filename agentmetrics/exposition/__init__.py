"""Serves /metrics of a Prometheus recorder: asyncio server, thread server, ASGI app, WSGI app."""

from agentmetrics.exposition.aio import start_http_server
from agentmetrics.exposition.apps import MetricsApp, make_asgi_app, make_wsgi_app, metrics_route
from agentmetrics.exposition.listening import LOOPBACK
from agentmetrics.exposition.recorders import prometheus_recorder
from agentmetrics.exposition.threaded import (
    MetricsThread,
    serve_collector,
    start_http_server_in_thread,
)

__all__ = [
    "LOOPBACK",
    "MetricsApp",
    "MetricsThread",
    "make_asgi_app",
    "make_wsgi_app",
    "metrics_route",
    "prometheus_recorder",
    "serve_collector",
    "start_http_server",
    "start_http_server_in_thread",
]
