"""Metrics and label values that are valid before anything has been recorded under them.

The catalogue registers its metrics here, and a plugin its own: only then can a reading of 0 be
distinguished from a misspelt name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from agentmetrics.errors import UnknownMetricError
from agentmetrics.recording.metric import Metric, check_same

_metrics: dict[str, Metric] = {}
_values: dict[tuple[str, str], tuple[str, ...]] = {}
"""By metric and label: a plugin's ``status`` may have other values than the catalogue's."""


def make_known(metrics: Iterable[Metric], values: Mapping[str, Sequence[str]] = {}) -> None:
    """Let readings of these metrics be 0 while there are none; ``values`` are those of their
    ``closed_labels``, as far as the set is known beforehand.

    Raises ``ValueError`` for a name that is another metric's already.
    """
    for metric in metrics:
        check_same(_metrics.get(metric.name, metric), metric)
        _metrics[metric.name] = metric
        for label in metric.closed_labels & values.keys():
            _values[metric.name, label] = tuple(values[label])


def known_metrics() -> Iterable[Metric]:
    """Every metric that was made known."""
    return _metrics.values()


def known_metric(name: str) -> Metric | None:
    """The metric that was made known under this name."""
    return _metrics.get(name)


def unknown_metric(name: str, declared: Iterable[str]) -> UnknownMetricError:
    """The error of a name that is no metric's, with those that may be meant."""
    return UnknownMetricError(f"there is no metric {name!r}{_meant(name, {*_metrics, *declared})}")


def turned_off(name: str) -> UnknownMetricError:
    """The error of a metric of which nothing is recorded because the user said so."""
    return UnknownMetricError(
        f"{name} is not recorded: AGENTMETRICS_METRICS_OFF, or metrics_off=, turns it off"
    )


def check_labels(metric: Metric, labels: Mapping[str, str]) -> None:
    """Raise ``UnknownMetricError`` for a label that the metric has not, or a value of a label
    with a fixed set of values that is none of them."""
    for label, value in labels.items():
        if label not in metric.labels:
            has = f"it has {', '.join(metric.labels)}" if metric.labels else "it has none"
            raise UnknownMetricError(f"{metric.name} has no label {label!r}: {has}")
        allowed = _values.get((metric.name, label), ())
        if allowed and value not in allowed:
            raise UnknownMetricError(
                f"{metric.name} never has {label}={value!r}{_meant(value, allowed)}"
            )


def _meant(name: str, among: Iterable[str]) -> str:
    names = sorted(among)
    close = get_close_matches(name, names, n=3)
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f": use one of {', '.join(names)}" if len(names) <= 12 else ""
