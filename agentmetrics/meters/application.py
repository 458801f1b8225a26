"""What the application records of itself as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.meters.base import Instruments


class ApplicationMeter:
    """The instruments of an application's own errors, made when it first records one."""

    def __init__(self, make: Instruments) -> None:
        self._errors = make.counter(catalog.APPLICATION_ERRORS)

    def error(self, error_type: str, component: str) -> None:
        """Count an error of the application."""
        self._errors.labels(error_type=error_type, component=component).inc()
