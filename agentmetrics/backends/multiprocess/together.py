"""What the files of all processes hold, as the families that were recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from prometheus_client.metrics_core import Metric as PrometheusFamily
from prometheus_client.samples import Sample

from agentmetrics.recording.metric import Metric
from agentmetrics.recording.values import Family, HistogramValue, Value, bound_text

Labels = tuple[str, ...]


def recorded(collected: Iterable[PrometheusFamily], metrics: Mapping[str, Metric]) -> list[Family]:
    """Those families of a scrape that are of these metrics, which are by name.

    Series with other labels, or of a histogram with other buckets, are left out: another version,
    or other settings, wrote them.
    """
    samples: dict[str, list[Sample]] = {}
    for family in collected:
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    found = [Family(metric, _series(metric, samples)) for metric in metrics.values()]
    return [family for family in found if family.series]


def _series(metric: Metric, samples: Mapping[str, list[Sample]]) -> list[tuple[Labels, Value]]:
    if metric.kind == "histogram":
        return list(_histograms(metric, samples).items())
    return [
        (values, sample.value)
        for sample in samples.get(metric.name, ())
        if (values := _values(metric, sample.labels)) is not None
    ]


def _values(metric: Metric, labels: Mapping[str, str]) -> Labels | None:
    if labels.keys() != set(metric.labels):
        return None
    return tuple(labels[name] for name in metric.labels)


def _histograms(metric: Metric, samples: Mapping[str, list[Sample]]) -> dict[Labels, Value]:
    cumulative: dict[Labels, dict[str, int]] = {}
    for sample in samples.get(f"{metric.name}_bucket", ()):
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        values = _values(metric, labels)
        if values is not None:
            cumulative.setdefault(values, {})[sample.labels["le"]] = round(sample.value)
    sums = {
        _values(metric, sample.labels): sample.value
        for sample in samples.get(f"{metric.name}_sum", ())
    }
    bounds = [bound_text(bound) for bound in (*metric.buckets, float("inf"))]
    return {
        values: HistogramValue(
            metric.buckets, _each([0, *map(of.__getitem__, bounds)]), sums[values]
        )
        for values, of in cumulative.items()
        if of.keys() == set(bounds) and values in sums
    }


def _each(cumulative: list[int]) -> tuple[int, ...]:
    return tuple(after - before for before, after in pairwise(cumulative))
