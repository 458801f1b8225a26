"""The metrics that recorders raise about themselves; the catalogue has them among its own."""

from __future__ import annotations

from agentmetrics.recording.known import make_known
from agentmetrics.recording.metric import Metric

SERIES_DROPPED = Metric(
    "agentmetrics_series_dropped_total",
    "counter",
    "Label sets of a metric beyond its limit, recorded as 'other'.",
    ("metric",),
)
PACKETS_DROPPED = Metric(
    "agentmetrics_packets_dropped_total",
    "counter",
    "Packets that a backend could not send.",
    ("backend",),
)
FILES_SKIPPED = Metric(
    "agentmetrics_multiprocess_files_skipped_total",
    "counter",
    "Files in the multiprocess directory that cannot be read to their end.",
    (),
)

make_known((SERIES_DROPPED, PACKETS_DROPPED, FILES_SKIPPED))
