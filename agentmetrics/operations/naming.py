"""Names of metrics in PromQL, as they are exposed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agentmetrics.catalog import APPLICATION, CATALOG, PLATFORM

METRICS = {metric.name: metric for metric in (*CATALOG, *APPLICATION, *PLATFORM)}

_NAMES = "|".join(sorted(METRICS, key=len, reverse=True))
_PARTS = "_bucket|_sum|_count"
_NAME = re.compile(rf"(?<![\w:])({_NAMES})({_PARTS})?(?![\w:])")
_EXTENDED = "|".join(name for name, metric in METRICS.items() if metric.extended)
_SELECTOR = re.compile(rf"(?<![\w:])((?:{_EXTENDED})(?:{_PARTS})?)(?![\w:])(\{{?)")


def in_namespace(promql: str, namespace: str) -> str:
    """The expression with every metric of the catalogue as a ``namespace`` exposes it.

    An empty namespace changes nothing.
    """
    return _NAME.sub(rf"{namespace}_\1\2", promql) if namespace else promql


def with_matchers(promql: str, labels: Sequence[str]) -> str:
    """The expression with ``label=~"$label"`` for each of the user's extra labels.

    Every selector of a metric that has them gets the matchers, first. Call this before
    ``in_namespace``: it knows metrics by the names of the catalogue.
    """
    matchers = ", ".join(f'{label}=~"${label}"' for label in labels)

    def matched(selector: re.Match[str]) -> str:
        name, opening = selector.groups()
        return f"{name}{{{matchers}, " if opening else f"{name}{{{matchers}}}"

    return _SELECTOR.sub(matched, promql) if labels else promql
