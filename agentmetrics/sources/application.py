"""Errors of the application around its agents, as the program records them."""

from __future__ import annotations

from typing import Any

from agentmetrics.config.active import pipeline_for
from agentmetrics.meters.application import ApplicationMeter
from agentmetrics.recording.metric import class_name, name_of
from agentmetrics.recording.recorder import Recorder


def record_error(
    error_type: str | BaseException | type[BaseException],
    component: str = "",
    *,
    recorder: Recorder | None = None,
) -> None:
    """Count an error of the application in ``errors_total{error_type,component}``.

    An exception, or its class, is counted under the name of the class, never by its text.
    ``component`` is the part of the application that failed. ``recorder`` defaults to the
    configured one. An error that cannot be recorded, because the program has an ``errors_total`` of
    its own, increments ``agentmetrics_handler_errors_total{event="record_error"}`` and is logged
    once.

    Raises ``agentmetrics.ConfigurationError`` when the environment's settings are invalid.
    """
    pipeline = pipeline_for(recorder)
    try:
        pipeline.meter(ApplicationMeter).error(_named(error_type), component)
    except Exception as error:
        pipeline.failed("record_error", error)


def _named(error: Any) -> object:
    # Not isinstance(), which asks the object.
    if issubclass(type(error), BaseException):
        return class_name(error)
    return name_of(error) if issubclass(type(error), type) else error
