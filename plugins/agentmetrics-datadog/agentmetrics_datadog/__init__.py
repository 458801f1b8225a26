"""A backend of agentmetrics that delivers to DogStatsD."""

from agentmetrics_datadog.recorder import DogStatsDRecorder

__all__ = ["DogStatsDRecorder"]
