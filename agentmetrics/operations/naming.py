"""Names of metrics in PromQL, as they are exposed."""

from __future__ import annotations

import re

from agentmetrics.catalog import APPLICATION, CATALOG, PLATFORM

METRICS = {metric.name: metric for metric in (*CATALOG, *APPLICATION, *PLATFORM)}

_NAMES = "|".join(sorted(METRICS, key=len, reverse=True))
_NAME = re.compile(rf"(?<![\w:])({_NAMES})(_bucket|_sum|_count)?(?![\w:])")


def in_namespace(promql: str, namespace: str) -> str:
    """The expression with every metric of the catalogue as a ``namespace`` exposes it.

    An empty namespace changes nothing.
    """
    return _NAME.sub(rf"{namespace}_\1\2", promql) if namespace else promql
