"""Errors of the application around its agents, as the program records them."""

from __future__ import annotations

from agentmetrics.config.active import pipeline_for
from agentmetrics.meters.application import ApplicationMeter
from agentmetrics.recording.recorder import Recorder


def record_error(
    error_type: str | BaseException, component: str = "", *, recorder: Recorder | None = None
) -> None:
    """Count an error of the application in ``errors_total{error_type,component}``.

    Of an exception the name of its class is taken, never its text. ``component`` is the part of the
    application that failed. ``recorder`` is by default the configured one. What cannot be recorded
    (another metric has the name) raises ``agentmetrics_handler_errors_total``, never an error.
    """
    pipeline = pipeline_for(recorder)
    try:
        named = error_type if isinstance(error_type, str) else type(error_type).__name__
        pipeline.meter(ApplicationMeter).error(named, component)
    except Exception as error:
        pipeline.failed("record_error", error)
