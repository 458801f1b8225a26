"""Tasks, workers and queues of Celery, in the metrics system you already use."""

from agentmetrics_celery.instrument import instrument_app
from agentmetrics_celery.queues import observe_queues

__all__ = ["instrument_app", "observe_queues"]
