"""Names of metrics and of recorded series in PromQL, as they are exposed."""

from __future__ import annotations

import re

from agentmetrics.catalog import APPLICATION, CATALOG, PLATFORM

METRICS = {metric.name: metric for metric in (*CATALOG, *APPLICATION, *PLATFORM)}

_NAMES = "|".join(sorted(METRICS, key=len, reverse=True))
_QUOTED = r'"(?:[^"\\]|\\.)*"'  # an agent may be called as a metric is
_NAME = re.compile(
    rf"{_QUOTED}|(?<![\w:])(?P<name>(?:{_NAMES})(?:_bucket|_sum|_count)?|\w+:\w+:\w+)(?![\w:])"
)


def in_namespace(promql: str, namespace: str) -> str:
    """The expression with every metric of the catalogue as a ``namespace`` exposes it.

    Recorded series, ``level:metric:operation``, have the namespace too, so that the rules of two
    namespaces do not collide. An empty namespace changes nothing.
    """
    if not namespace:
        return promql
    return _NAME.sub(lambda it: f"{namespace}_{it[0]}" if it["name"] else it[0], promql)
