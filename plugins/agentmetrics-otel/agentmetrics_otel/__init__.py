"""A backend of agentmetrics that delivers by the OpenTelemetry metrics API."""

from agentmetrics_otel.recorder import OTelRecorder

__all__ = ["OTelRecorder"]
