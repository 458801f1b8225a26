"""What the application records of itself as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.errors import ConfigurationError
from agentmetrics.meters.base import Instruments
from agentmetrics.recording.instruments import Counter


class ApplicationMeter:
    """The instruments of an application's own errors, made when it first records one."""

    def __init__(self, make: Instruments) -> None:
        self._errors: Counter | None = None
        self._taken = ""
        try:
            self._errors = make.counter(catalog.APPLICATION_ERRORS)
        except ValueError as error:  # the program may have a metric of this name
            self._taken = str(error)

    def error(self, error_type: object, component: object) -> None:
        """Count an error of the application.

        Raises ``ConfigurationError`` where something else has the name of the metric; whether it
        does is asked once, since asking takes all metrics off a Prometheus registry for a moment.
        """
        if self._errors is None:
            raise ConfigurationError(self._taken)
        self._errors.labels(error_type=error_type, component=component).inc()
