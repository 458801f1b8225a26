"""A backend of agentmetrics that delivers by the OpenTelemetry metrics API."""
