"""The Datadog Agent's ``dogstatsd_mapper_profiles``, by which names of plain StatsD become tags.

https://docs.datadoghq.com/extend/dogstatsd/dogstatsd_mapper describes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from agentmetrics.backends.statsd_lines import path_of
from agentmetrics.catalog import has_extra_labels
from agentmetrics.config.checks import check_common_labels
from agentmetrics.operations.naming import METRICS
from agentmetrics.recording.metric import Metric


def mapper_profiles(
    namespace: str = "",
    prefix: str = "",
    extra_labels: Sequence[str] = (),
    common_labels: Sequence[str] = (),
    extra_labels_for: Sequence[str] = (),
) -> dict[str, Any]:
    """What goes into datadog.yaml, for programs with these settings.

    ``prefix`` is that of StatsD, ``common_labels`` are names, and ``extra_labels_for`` names the
    metrics that alone have the extra labels. There is a profile for each subject (``llm_``,
    ``agent_``), since the Agent tries the mappings of a profile only on names that have its prefix.
    Metrics without labels need no mapping: their name is whole.

    Raises ``ValueError`` for a common label that agentmetrics has itself.
    """
    try:
        check_common_labels(common_labels)
    except ValueError as error:
        raise ValueError(f"common labels: {error}") from None
    start = f"{namespace}_" if namespace else ""
    profiles = []
    by_subject = groupby(sorted(METRICS.values(), key=_subject), _subject)
    for subject, metrics in by_subject:
        mappings = []
        for metric in metrics:
            extra = extra_labels if has_extra_labels(metric, extra_labels_for) else ()
            labels = tuple(_labels(metric, extra, common_labels))
            if labels:
                mappings.append(_mapping(path_of(prefix, start + metric.name, ()), labels))
        if mappings:
            of_all = path_of(prefix, f"{start}{subject}_", ())
            profiles.append(
                {"name": f"agentmetrics {subject}", "prefix": of_all, "mappings": mappings}
            )
    return {"dogstatsd_mapper_profiles": profiles}


def _subject(metric: Metric) -> str:
    return metric.name.partition("_")[0]


def _labels(metric: Metric, extra: Sequence[str], common: Sequence[str]) -> Iterator[str]:
    """The labels in the order of the components of a name; a metric's own stands before a common
    one."""
    yield from metric.labels
    yield from extra
    yield from (label for label in common if label not in metric.labels)


def _mapping(name: str, labels: Sequence[str]) -> dict[str, Any]:
    # Not the Agent's wildcards: those are documented for names without hyphens, which models have.
    components = r"\.([^.]*)" * len(labels)
    return {
        "match": f"{re.escape(name)}{components}",
        "match_type": "regex",
        "name": name,
        "tags": {label: f"${number}" for number, label in enumerate(labels, 1)},
    }
