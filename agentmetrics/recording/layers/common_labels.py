"""Additional labels on every series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agentmetrics.recording.layers.layer import Layer
from agentmetrics.recording.metric import Metric, check_label_name, clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.values import Family


class CommonLabels(Layer):
    """Adds the same labels to every series: ``CommonLabels(recorder, {"env": "prod"})``.

    A metric that has such a label itself keeps its own value: with a common ``version``, the
    ``version`` of ``agentmetrics_build_info`` is still that of agentmetrics. Readings do not
    include the added labels. Raises ``ValueError`` for an invalid label name.
    """

    def __init__(self, recorder: Recorder, labels: Mapping[str, str]) -> None:
        super().__init__(recorder)
        for name in labels:
            check_label_name(name)
        self._labels = {name: clean_label(value) for name, value in labels.items()}
        self._names, self._values = tuple(self._labels), tuple(self._labels.values())
        self._keeping: dict[str, int] = {}
        """Metrics that have one of these labels themselves, and how many labels they have."""

    def _added(self, metric: Metric) -> dict[str, str]:
        return {n: value for n, value in self._labels.items() if n not in metric.labels}

    def outward(self, metric: Metric) -> Metric:
        added = self._added(metric)
        if len(added) < len(self._names):
            self._keeping[metric.name] = len(metric.labels)
        return metric.with_labels(tuple(added))

    def outward_values(self, metric: Metric, values: tuple[str, ...]) -> tuple[str, ...]:
        return values + tuple(self._added(metric).values())

    def inward(self, metric: Metric) -> Metric | None:
        own = _without_end(metric.labels, self._names)
        return None if own is None else replace(metric, labels=own)

    def inward_values(self, values: tuple[str, ...]) -> tuple[str, ...] | None:
        return _without_end(values, self._values)

    def inward_family(self, family: Family) -> Family | None:
        metric, series = family
        own = self._keeping.get(metric.name)
        if own is None:
            return super().inward_family(family)
        bare = replace(metric, labels=metric.labels[:own])
        return Family(bare, [(values[:own], value) for values, value in series])


def _without_end(texts: tuple[str, ...], end: tuple[str, ...]) -> tuple[str, ...] | None:
    """The texts before ``end``; ``None`` where they do not end so."""
    length = len(texts) - len(end)
    return texts[:length] if length >= 0 and texts[length:] == end else None
