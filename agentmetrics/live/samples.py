"""One snapshot of the series that a live view needs, from an exposition or from a recorder."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from agentmetrics import catalog
from agentmetrics.recording.metric import Metric, clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.values import bound_text

if TYPE_CHECKING:
    from prometheus_client import Metric as MetricFamily

Labels = tuple[str, ...]
Amounts = Mapping[str, Mapping[Labels, float]]
"""Numbers by the name of a metric and the values of its labels."""

COUNTERS: tuple[Metric, ...] = (
    *(catalog.LLM_CALLS, catalog.LLM_ERRORS, catalog.LLM_TOKENS, catalog.LLM_TOKEN_DETAILS),
    *(catalog.LLM_COST, catalog.LLM_UNPRICED_CALLS),
    *(catalog.LLM_CACHE_HITS, catalog.LLM_CACHE_MISSES, catalog.CACHE_HITS, catalog.CACHE_MISSES),
    catalog.AGENT_RUNS,
    *(catalog.TOOL_EXECUTIONS, catalog.RETRIEVER_QUERIES, catalog.BUDGET_BLOCKED_CALLS),
)
HISTOGRAMS: tuple[Metric, ...] = (
    *(catalog.LLM_LATENCY, catalog.LLM_TIME_TO_FIRST_TOKEN),
    *(catalog.TOOL_EXECUTION_DURATION, catalog.RETRIEVER_QUERY_DURATION),
)
AVERAGED: tuple[Metric, ...] = (catalog.AGENT_RUN_LLM_CALLS,)
"""Histograms of which nobody wants the buckets."""
GAUGES: tuple[Metric, ...] = (
    *(catalog.AGENT_ACTIVE_RUNS, catalog.AGENT_OLDEST_ACTIVE_RUN),
    *(catalog.LLM_ACTIVE_CALLS, catalog.LLM_OLDEST_ACTIVE_CALL, catalog.TOOL_EXECUTIONS_ACTIVE),
    catalog.LLM_COST_TODAY,
    *(catalog.BUDGET_LIMIT, catalog.BUDGET_SPEND, catalog.BUDGET_PERIOD_END),
    catalog.BUDGET_PROJECTED_SPEND,
)

_GAUGES = {metric.name: metric for metric in GAUGES}
_OURS = (catalog.BUILD_INFO.name, "agentmetrics_open_runs", "llm_calls_total", "agent_active_runs")
"""Names by which an exposition of ours is known, whatever its namespace."""
_NAME = re.compile(rf"([a-zA-Z_]\w*?_)??(?:{'|'.join(_OURS)})", re.ASCII)
_PREFIX = re.compile(rf"^(?:# TYPE )?{_NAME.pattern}[ {{]", re.MULTILINE | re.ASCII)


MOST = 1e30
"""What is more, or no number, is left out: sums of it would be no numbers either."""


class Unreadable(ValueError):  # noqa: N818 - what the text is
    """A text is no exposition of agentmetrics; the message says what it is instead."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one source, or several together, say at one moment.

    ``time`` is Unix time in seconds. The values of labels are in the catalogue's order, and extra
    labels are summed over. A histogram has, under its name, the number of observations *in* each
    bucket that is not empty, whose upper bound is one more value (``"2.5"``, ``"+Inf"``);
    ``bounds`` has the upper bounds of all its buckets. One of the ``AVERAGED`` has, under its name
    with ``_sum`` and ``_count``, the sum and the number of its observations.
    """

    time: float
    series: Amounts
    bounds: Mapping[str, frozenset[float]] = field(default_factory=dict)

    @property
    def counted(self) -> Iterator[tuple[str, Labels, float]]:
        """What only ever grows, as long as nobody restarts."""
        for name, series in self.series.items():
            if name not in _GAUGES:
                for values, value in series.items():
                    yield name, values, value

    @property
    def gauges(self) -> Amounts:
        return {name: each for name, each in self.series.items() if name in _GAUGES}


class _Sample(Protocol):
    """One value of a series; prometheus-client's and ours alike."""

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> float: ...


def from_exposition(text: str, time: float) -> Snapshot:
    """The snapshot in an answer of ``/metrics``, in Prometheus' text format or OpenMetrics.

    A namespace before the names of metrics is recognized. What an older version does not have is
    absent. Raises ``Unreadable`` for anything else: HTML, half an answer, metrics of another
    program.
    """
    prefix = _prefix(text)
    try:
        return _snapshot(time, _samples(_parsed(text)), prefix)
    except ValueError:  # what it says is about somebody's labels
        raise Unreadable("an exposition with a line that cannot be read") from None


def from_families(families: Iterable[MetricFamily], time: float) -> Snapshot:
    """The snapshot in what a collector of prometheus-client gives; empty if nothing is ours."""
    found = list(families)
    names = (sample.name for family in found for sample in family.samples[:1])
    matches = (_NAME.fullmatch(name) for name in names)
    prefix = next((match[1] or "" for match in matches if match), "")
    return _snapshot(time, _samples(found), prefix)


def names_wanted(text: str = "") -> Sequence[str]:
    """The names that are needed of this exposition, in its namespace; without one, in none.

    They are a quarter of what a program has. Raises ``Unreadable`` as ``from_exposition`` does.
    """
    prefix = _prefix(text) if text else ""
    return [f"{prefix}{name}" for name in (*_WANTED, catalog.BUILD_INFO.name)]


def from_recorder(recorder: Recorder, time: float) -> Snapshot:
    """The snapshot of what a recorder in this process holds.

    Raises ``NotImplementedError`` for one that keeps no values.
    """
    return _snapshot(time, recorder.samples(), "")


def summed(snapshots: Sequence[Snapshot]) -> Snapshot:
    """Several sources as one: what counts and what is in flight is added, of ages and budgets the
    highest holds, of ends of periods the first; the time is the latest."""
    series: dict[str, dict[Labels, float]] = {}
    bounds: dict[str, frozenset[float]] = {}
    for snapshot in snapshots:
        for name, ends in snapshot.bounds.items():
            bounds[name] = bounds.get(name, frozenset()) | ends
        for name, found in snapshot.series.items():
            for values, value in found.items():
                _join(series, name, values, value)
    return Snapshot(max((each.time for each in snapshots), default=0.0), series, bounds)


def _prefix(text: str) -> str:
    """What stands before the names of metrics; raises ``Unreadable`` if they are not ours."""
    if not text.strip():
        raise Unreadable("an empty answer")
    if text.lstrip()[:1] == "<":
        raise Unreadable("a page of HTML or XML, no metrics")
    if not text.endswith(("\n", "# EOF")):  # OpenMetrics may end without a line feed
        raise Unreadable("an exposition that is cut off")
    match = _PREFIX.search(text)
    if match is None:
        is_exposition = "\n# TYPE " in f"\n{text}"
        raise Unreadable("metrics of another program" if is_exposition else "no metrics")
    return match[1] or ""


_LABELS: dict[str, Labels] = {
    **{metric.name: metric.labels for metric in (*COUNTERS, *GAUGES)},
    **{f"{metric.name}_{of}": metric.labels for metric in AVERAGED for of in ("sum", "count")},
}
_BUCKETS = {f"{metric.name}_bucket": metric for metric in HISTOGRAMS}
_WANTED = (*_LABELS, *_BUCKETS)


def _parsed(text: str) -> Iterator[MetricFamily]:
    if text.endswith(("# EOF\n", "# EOF")):
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
    else:
        from prometheus_client.parser import text_string_to_metric_families as parse
    return iter(parse(text))  # type: ignore[no-untyped-call]


def _samples(families: Iterable[MetricFamily]) -> Iterator[_Sample]:
    return (sample for family in families for sample in family.samples)


def _snapshot(time: float, samples: Iterable[_Sample], prefix: str) -> Snapshot:
    series: dict[str, dict[Labels, float]] = {}
    cumulative: dict[tuple[str, Labels], dict[float, float]] = {}
    for sample in samples:
        if not sample.name.startswith(prefix) or not abs(sample.value) < MOST:
            continue
        name = sample.name[len(prefix) :]
        labels = _LABELS.get(name)
        if labels is not None:
            _join(series, name, _values(labels, sample.labels), sample.value)
        elif name in _BUCKETS:
            bound = _bound(sample.labels.get("le", ""))
            if not math.isnan(bound):
                metric = _BUCKETS[name]
                key = (metric.name, _values(metric.labels, sample.labels))
                counts = cumulative.setdefault(key, {})
                counts[bound] = counts.get(bound, 0.0) + sample.value
    bounds: dict[str, set[float]] = {}
    for (name, values), counts in cumulative.items():
        below = 0.0
        bounds.setdefault(name, set()).update(counts)
        for bound, count in sorted(counts.items()):
            # A scrape of files that are being written may have a bucket that is behind.
            inside, below = max(count - below, 0.0), max(count, below)
            if inside:
                _join(series, name, (*values, bound_text(bound)), inside)
    return Snapshot(time, series, {name: frozenset(ends) for name, ends in bounds.items()})


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _values(labels: Labels, found: Mapping[str, str]) -> Labels:
    return tuple(clean_label(found.get(label, "")) for label in labels)


def _join(series: dict[str, dict[Labels, float]], name: str, values: Labels, value: float) -> None:
    of_name = series.setdefault(name, {})
    known = of_name.get(values)
    of_name[values] = value if known is None else _joined(name, known, value)


def _joined(name: str, one: float, other: float) -> float:
    """The value of two series that turn out to be the same."""
    if name == catalog.BUDGET_PERIOD_END.name:
        return min(one, other)
    metric = _GAUGES.get(name)
    if metric is not None and metric.merge != "sum":
        return max(one, other)
    return one + other
