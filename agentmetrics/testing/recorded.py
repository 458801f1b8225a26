"""What a recorder holds, for somebody whose assertion on it has failed."""

from __future__ import annotations

from collections.abc import Iterator

from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.unseen import visible
from agentmetrics.recording.values import HistogramValue

MAX_SERIES = 60
"""So many series are shown."""


def recorded(recorder: Recorder) -> str:
    """The summary, and every series that is not 0, as an assertion would name it."""
    lines = list(_series(recorder))
    more = [f"... {len(lines) - MAX_SERIES:,} more series"] if len(lines) > MAX_SERIES else []
    return "\n".join([str(recorder.summary()), "", *lines[:MAX_SERIES], *more])


def _series(recorder: Recorder) -> Iterator[str]:
    for metric, series in recorder.collect():
        for values, value in series:
            pairs = zip(metric.labels, values, strict=True)
            labels = ", ".join(f"{name}={visible(text)!r}" for name, text in pairs)
            count = value.count if isinstance(value, HistogramValue) else value
            if count:
                what = " observed" if isinstance(value, HistogramValue) else ""
                yield f"{metric.name}({labels}) {count:g}{what}"
