"""What an expression in PromQL refers to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import promql_parser


class Selected(NamedTuple):
    """A selector: the name of the series, and the labels that are matched or grouped by."""

    name: str
    labels: frozenset[str]


def selected(promql: str) -> list[Selected]:
    """Every selector of an expression, with the labels of the aggregations around it.

    Raises ``ValueError`` when it cannot be parsed.
    """
    return list(_selectors(promql_parser.parse(promql), frozenset()))


def functions(promql: str) -> set[str]:
    return {node.func.name for node in _nodes(promql_parser.parse(promql)) if hasattr(node, "func")}


def _selectors(node: Any, grouped: frozenset[str]) -> Iterator[Selected]:
    if isinstance(node, promql_parser.VectorSelector):
        matched = {matcher.name for matcher in node.matchers.matchers}
        yield Selected(str(node.name), grouped | matched)
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
        grouped |= set(node.modifier.labels)
    for part in _parts(node):
        yield from _selectors(part, grouped)


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for part in _parts(node):
        yield from _nodes(part)


def _parts(node: Any) -> Iterator[Any]:
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if hasattr(node, name):
            yield getattr(node, name)
    yield from getattr(node, "args", ())
