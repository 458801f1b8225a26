"""Serves /metrics of a Prometheus recorder, and the live page: asyncio, thread, ASGI, WSGI."""

from agentmetrics.exposition.aio import start_http_server
from agentmetrics.exposition.apps import (
    MetricsApp,
    make_asgi_app,
    make_wsgi_app,
    metrics_route,
    page_route,
)
from agentmetrics.exposition.listening import LOOPBACK
from agentmetrics.exposition.page.access import is_page_served
from agentmetrics.exposition.page.answers import PATH as PAGE_PATH
from agentmetrics.exposition.recorders import prometheus_recorder
from agentmetrics.exposition.threaded import (
    MetricsThread,
    serve_collector,
    start_http_server_in_thread,
)

__all__ = [
    "LOOPBACK",
    "PAGE_PATH",
    "MetricsApp",
    "MetricsThread",
    "is_page_served",
    "make_asgi_app",
    "make_wsgi_app",
    "metrics_route",
    "page_route",
    "prometheus_recorder",
    "serve_collector",
    "start_http_server",
    "start_http_server_in_thread",
]
