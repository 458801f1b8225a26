"""Names of metrics and of recorded series in PromQL, as they are exposed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from agentmetrics.catalog import APPLICATION, CATALOG, PLATFORM, has_extra_labels

METRICS = {metric.name: metric for metric in (*CATALOG, *APPLICATION, *PLATFORM)}

_NAMES = "|".join(sorted(METRICS, key=len, reverse=True))
_PARTS = "_bucket|_sum|_count"
_QUOTED = r'"(?:[^"\\]|\\.)*"'  # an agent may be called as a metric is
_NAME = re.compile(rf"{_QUOTED}|(?<![\w:])(?P<name>(?:{_NAMES})(?:{_PARTS})?|\w+:\w+:\w+)(?![\w:])")


def in_namespace(promql: str, namespace: str) -> str:
    """The expression with every metric of the catalogue as a ``namespace`` exposes it.

    Recorded series, ``level:metric:operation``, have the namespace too, so that the rules of two
    namespaces do not collide. An empty namespace changes nothing.
    """
    if not namespace:
        return promql
    return _NAME.sub(lambda it: f"{namespace}_{it[0]}" if it["name"] else it[0], promql)


def with_matchers(promql: str, variables: Mapping[str, str], only: Sequence[str] = ()) -> str:
    """The expression with ``label=~"$variable"`` for each of the user's extra labels.

    Every selector of a metric that has them gets the matchers, first; ``only`` are the groups and
    metrics that alone do. Call this before ``in_namespace``: it knows metrics by the names of the
    catalogue.
    """
    matchers = ", ".join(f'{label}=~"${variable}"' for label, variable in variables.items())

    def matched(selector: re.Match[str]) -> str:
        name, opening = selector.groups()
        return f"{name}{{{matchers}, " if opening else f"{name}{{{matchers}}}"

    return _selector(tuple(only)).sub(matched, promql) if variables else promql


@cache
def _selector(only: tuple[str, ...]) -> re.Pattern[str]:
    """What begins to select series of a metric with extra labels."""
    names = "|".join(name for name, each in METRICS.items() if has_extra_labels(each, only))
    names = names or "(?!)"  # of the catalogue none does
    return re.compile(rf"(?<![\w:])((?:{names})(?:{_PARTS})?)(?![\w:])(\{{?)")
