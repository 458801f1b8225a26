"""Whose metrics are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentmetrics.config.active import get_recorder
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    from agentmetrics.backends.prometheus import PrometheusRecorder


def prometheus_recorder(recorder: Recorder | None = None) -> PrometheusRecorder:
    """The Prometheus recorder in ``recorder``, or in the configured one, inside layers and fanouts.

    Raises ``ConfigurationError`` when there is none.
    """
    try:
        from agentmetrics.backends.prometheus import prometheus_recorder_in
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"/metrics needs the package {error.name!r}: "
            "pip install 'llm-agentmetrics[prometheus]'",
            name=error.name,
        ) from None

    found = prometheus_recorder_in(recorder or get_recorder())
    if found is not None:
        return found
    if recorder is not None:
        raise ConfigurationError(
            f"{type(recorder).__name__} contains no PrometheusRecorder, which /metrics needs"
        )
    raise ConfigurationError(
        "no Prometheus backend is configured: set AGENTMETRICS_BACKEND=prometheus "
        "(comma-separated with others) or call agentmetrics.configure(backend='prometheus')"
    )


def restrictable(collector: Collector) -> CollectorRegistry:
    """A collector as a registry, which a scrape for single metrics (``?name[]=``) needs."""
    from prometheus_client import CollectorRegistry

    if isinstance(collector, CollectorRegistry):
        return collector
    registry = CollectorRegistry(support_collectors_without_names=True)
    registry.register(collector)
    return registry
