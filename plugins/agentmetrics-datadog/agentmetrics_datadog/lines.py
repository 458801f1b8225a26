"""The lines of DogStatsD: names, tags, types and packed values.

https://docs.datadoghq.com/extend/dogstatsd/datagram_shell describes the protocol, and
https://docs.datadoghq.com/getting_started/tagging what a tag may be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from agentmetrics import Metric
from agentmetrics.plugin import Changes, Line, clean_label

PROTOCOLS: Final = ("1.0", "1.1", "1.2")
DEFAULT_PROTOCOL: Final = "1.2"

_TYPES = {"counter": "c", "gauge": "g", "histogram": "d"}
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]")
_UNSAFE_IN_KEYS = re.compile(r"[,|:\s]")
_UNSAFE_IN_VALUES = re.compile(r"[,|\s]")


def lines_for(
    prefix: str, tags: Mapping[str, str], process_tag: str, container_id: str
) -> Callable[[Metric, tuple[str, ...]], Line]:
    """What the lines of a series have in common, with these tags on all of them.

    Label values become tags. One that is empty is left out, since Datadog has no tag without a
    value; its series is found under ``N/A``. A tag whose key is one of the metric's labels gives
    way to the label.

    Gauges of what goes on now have the process as ``process_tag``, unless that is empty: of several
    processes with the same tags, the Agent would keep one.
    """
    head = "".join(f"{part}." for part in prefix.split(".") if part)
    constant = _tags(tags.items())
    container = f"|c:{_UNSAFE_IN_VALUES.sub('_', container_id)}" if container_id else ""

    def line_of(metric: Metric, values: tuple[str, ...]) -> Line:
        own = _tags(zip(metric.labels, values, strict=True))
        process = _tags([(process_tag, str(os.getpid()))]) if metric.is_live else {}
        joined = ",".join((constant | process | own).values())
        tail = f"|#{joined}{container}" if joined else container
        return Line(_UNSAFE_IN_NAMES.sub("_", head + metric.name), _TYPES[metric.kind], tail)

    return line_of


def _tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """``key:value`` by key, without those that lack either.

    A comma, a pipe or white space would end a tag; they become ``_``, as control characters do.
    """
    cleaned = (
        (_UNSAFE_IN_KEYS.sub("_", clean_label(key)), clean_label(value).strip())
        for key, value in pairs
    )
    return {k: f"{k}:{_UNSAFE_IN_VALUES.sub('_', value)}" for k, value in cleaned if k and value}


def entries(changes: Changes, packed_bytes: int) -> Iterator[str]:
    """The lines of one flush, with several values in one of at most ``packed_bytes`` bytes; 0 for
    one value in each line."""
    for line, value in (*changes.counters, *changes.gauges):
        yield line.of(value)
    for line, values, weight in changes.weighted():
        yield from line.packed(values, weight, packed_bytes)
