"""HTTP requests of ASGI and WSGI applications, in the metrics system you already use."""

from agentmetrics_asgi.asgi import MetricsMiddleware as MetricsMiddleware
from agentmetrics_asgi.wsgi import WSGIMetricsMiddleware as WSGIMetricsMiddleware

__all__ = ["MetricsMiddleware", "WSGIMetricsMiddleware"]
