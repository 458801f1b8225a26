"""The lines of plain StatsD: names, the types that a server knows, and gauges below zero."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agentmetrics.backends.changes import Changes, Line, LineOf, SampledHistogram
from agentmetrics.recording.metric import Metric

EMPTY = "none"
"""The component of a name that stands for an empty label value."""

DIALECTS: Final = {"etsy": "ms", "statsd_exporter": "h", "telegraf": "h", "datadog": "d"}
"""The type of a histogram by server. The original daemon, Etsy's, knows no other than its timers;
a type that it does not know it counts."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_PLAIN_TYPES = {"counter": "c", "gauge": "g"}


def path_of(prefix: str, name: str, values: Sequence[str]) -> str:
    """A series' name: ``prefix.metric_name.value1.value2``, label values in the metric's order.

    What StatsD or Graphite would misread becomes ``_``, and an empty value ``none``.
    """
    parts = [part for part in prefix.split(".") if part]
    return ".".join(_UNSAFE.sub("_", part or EMPTY) for part in (*parts, name, *values))


def lines_for(prefix: str, dialect: str) -> LineOf:
    """The lines that a server of this dialect understands.

    Timers are in milliseconds by definition, so there seconds are converted; values of any other
    unit, and of types without one, are sent as they are.
    """
    of_histograms = DIALECTS[dialect]

    def line_of(metric: Metric, values: tuple[str, ...]) -> Line:
        wire_type = _PLAIN_TYPES.get(metric.kind, of_histograms)
        in_milliseconds = wire_type == "ms" and metric.unit == "seconds"
        name = path_of(prefix, metric.name, values)
        return Line(name, wire_type, scale=1000 if in_milliseconds else 1)

    return line_of


class Timer(SampledHistogram):
    """A histogram of values that the daemon takes as a timer."""

    lowest = 0.0
    highest = 1e300
    """Far from where milliseconds overflow."""
    __slots__ = ()


def entries(changes: Changes) -> Iterator[str]:
    """The lines of one flush; those of a gauge below zero are one entry."""
    for line, difference in changes.counters:
        yield line.of(difference)
    for line, value in changes.gauges:
        # With a sign it would be a step, unless the gauge stands at 0.
        yield f"{line.of(0)}\n{line.of(value)}" if value < 0 else line.of(value)
    for line, values, weight in changes.weighted():
        yield from line.packed(values, weight, 0)
