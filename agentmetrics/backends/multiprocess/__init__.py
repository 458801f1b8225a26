"""Prometheus' multiprocess mode: updates written through to files, and the scrape over them."""

from agentmetrics.backends.multiprocess.collector import MultiprocessCollector
from agentmetrics.backends.multiprocess.compaction import sweep_dead_workers
from agentmetrics.backends.multiprocess.directory import DIRECTORY_VARIABLE
from agentmetrics.backends.multiprocess.store import MultiprocessStore, are_written
from agentmetrics.backends.multiprocess.together import recorded

__all__ = [
    "DIRECTORY_VARIABLE",
    "MultiprocessCollector",
    "MultiprocessStore",
    "are_written",
    "recorded",
    "sweep_dead_workers",
]
