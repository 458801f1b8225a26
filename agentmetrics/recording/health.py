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
FILES_REMADE = Metric(
    "agentmetrics_multiprocess_files_remade_total",
    "counter",
    "Files in the multiprocess directory that were deleted or cut short under the process that "
    "writes them, and made anew by it.",
    (),
)
SERIES_UNWRITTEN = Metric(
    "agentmetrics_multiprocess_series_unwritten_total",
    "counter",
    "Series that the disk of the multiprocess directory had no room for: they are in the memory of "
    "their process, and in no scrape, until it has.",
    (),
)

make_known((SERIES_DROPPED, PACKETS_DROPPED, FILES_SKIPPED, FILES_REMADE, SERIES_UNWRITTEN))
