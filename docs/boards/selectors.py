"""PromQL of the boards, from rows of the catalogue: an unknown label fails when boards are made.

Every selector takes the variables of the boards that its metric has a label for. Counters are
aggregated after their rate. ``by`` are the labels to keep.
"""

from __future__ import annotations

from agentmetrics.catalog import LABEL_VALUES
from agentmetrics.recording.metric import Metric

TARGET = ("job", "instance")
"""What Prometheus adds to every series."""
CHAIN = ("agent_name", "provider", "model")
"""The labels of the catalogue that are variables, each of which narrows the next."""

ENDED = ("success", "error")
"""What a rate of errors is out of: that a call was cancelled is neither good nor bad."""
ANY: tuple[str, ...] = ()
"""As the value of a label: all of its series, whatever the variable of the label says."""

RATE = "$__rate_interval"
RANGE = "$__range"


def target() -> str:
    """The matchers that every series can be selected by."""
    return _matched(TARGET)


def sel(metric: Metric, part: str = "", **matchers: str | tuple[str, ...]) -> str:
    """The series of a metric; ``part`` is ``_bucket``, ``_sum`` or ``_count`` of a histogram.

    A tuple of values matches any of them. Raises ``ValueError`` for a label that the metric has
    not, for a value that a closed label has not, and for a histogram without its part.
    """
    if (metric.kind == "histogram") != bool(part):
        raise ValueError(f"{metric.name} is a {metric.kind}, asked for with the part {part!r}")
    for label, wanted in matchers.items():
        values = (wanted,) if isinstance(wanted, str) else wanted
        if label not in metric.labels:
            raise ValueError(f"{metric.name} has no label {label!r}, only {metric.labels}")
        known = LABEL_VALUES.get(label, values) if label in metric.closed_labels else values
        if unknown := set(values) - set(known):
            raise ValueError(f"{label} of {metric.name} is never {unknown}, only {known}")
    variables = [name for name in CHAIN if name in metric.labels and name not in matchers]
    parts = [_matched((*TARGET, *variables))]
    for label, wanted in matchers.items():
        if wanted == ANY:
            continue
        exact = isinstance(wanted, str)
        parts.append(f'{label}="{wanted}"' if exact else f'{label}=~"{"|".join(wanted)}"')
    return f"{metric.name}{part}{{{', '.join(parts)}}}"


def _matched(labels: tuple[str, ...]) -> str:
    return ", ".join(f'{label}=~"${label}"' for label in labels)


def aggregate(how: str, series: str, *by: str) -> str:
    """``how`` over series, such as ``sum`` or ``max``."""
    return f"{how} by ({', '.join(by)}) ({series})" if by else f"{how}({series})"


def total(metric: Metric, *by: str, **matchers: str | tuple[str, ...]) -> str:
    """A gauge that adds up over processes: things in flight, entries, pending rows."""
    return aggregate("sum", sel(metric, "", **matchers), *by)


def highest(metric: Metric, *by: str, **matchers: str | tuple[str, ...]) -> str:
    """A gauge of which the highest counts: an age, or what all processes know alike."""
    return aggregate("max", sel(metric, "", **matchers), *by)


def rate(metric: Metric, *by: str, **matchers: str | tuple[str, ...]) -> str:
    """A counter per second, over time."""
    return aggregate("sum", f"rate({sel(metric, '', **matchers)}[{RATE}])", *by)


def increase(metric: Metric, *by: str, **matchers: str | tuple[str, ...]) -> str:
    """What a counter counted in the time range of the board."""
    return aggregate("sum", f"increase({sel(metric, '', **matchers)}[{RANGE}])", *by)


def count(metric: Metric, *by: str, over: str = RATE) -> str:
    """Observations of a histogram per second."""
    return aggregate("sum", f"rate({sel(metric, '_count')}[{over}])", *by)


def quantile(q: float, metric: Metric, *by: str, over: str = RATE) -> str:
    """A quantile of a histogram."""
    buckets = aggregate("sum", f"rate({sel(metric, '_bucket')}[{over}])", "le", *by)
    return f"histogram_quantile({q}, {buckets})"


def mean(metric: Metric, *by: str, over: str = RATE) -> str:
    """The mean of a histogram; nothing where it has no observations."""
    summed = aggregate("sum", f"rate({sel(metric, '_sum')}[{over}])", *by)
    return f"{summed} / ({count(metric, *by, over=over)} > 0)"


def buckets(metric: Metric) -> str:
    """A histogram's buckets, for a heatmap."""
    return aggregate("sum", f"increase({sel(metric, '_bucket')}[{RATE}])", "le")


def ratio(part: str, whole: str) -> str:
    """One sum to another: 0 while there is no part yet, nothing while there is no whole."""
    return f"({part} or vector(0)) / ({whole} > 0)"


def ratio_by(part: str, whole: str) -> str:
    """The same for each label set of ``whole``, which ``part`` has the labels of."""
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def both(one: str, other: str) -> str:
    """The sum of two sums, of which either may have nothing to add up yet."""
    return f"(({one} or vector(0)) + ({other} or vector(0)))"


def both_by(one: str, other: str) -> str:
    """The same for each label set."""
    return f"(({one} or {other} * 0) + ({other} or {one} * 0))"
