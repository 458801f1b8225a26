"""The PromQL of boards, as a parser that is not ours reads it."""

from __future__ import annotations

import re
from typing import Any

import promql_parser

from agentmetrics.operations.naming import METRICS
from tests.services import grafana

PROMETHEUS_OWN = {"up", "scrape_duration_seconds", "scrape_samples_scraped", "ALERTS"}


def is_counter(series: str) -> bool:
    """Whether it only rises: a counter, or a part of a histogram."""
    metric = metric_of(series)
    return metric in METRICS and METRICS[metric].kind != "gauge"


def metric_of(series: str) -> str:
    return series if series in METRICS else re.sub("_(bucket|sum|count)$", "", series)


def queries(board: dict[str, Any]) -> list[str]:
    """Every expression of the panels of a board."""
    return [target["expr"] for panel in grafana.panels(board) for target in panel["targets"]]


def promql_of(board: dict[str, Any]) -> list[str]:
    """The same, and those of annotations and variables."""
    found = [*queries(board), *(entry["expr"] for entry in board["annotations"]["list"])]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            series, _, _ = variable["query"].removeprefix("label_values(").rpartition(", ")
            found.append(series)
    return found


def parsed(board: dict[str, Any], expr: str) -> Any:
    return promql_parser.parse(grafana.interpolated(expr, grafana.variables(board, {})))


def selectors(tree: Any) -> list[Any]:
    """The selectors of an expression."""
    return [node for node, _ in nodes(tree) if type(node).__name__ == "VectorSelector"]


def nodes(tree: Any) -> list[tuple[Any, list[Any]]]:
    """Each node of an expression, and those around it, the outermost first."""
    found: list[tuple[Any, list[Any]]] = []
    around: list[Any] = []

    def enter(node: Any) -> None:
        if type(node).__name__ == "MatrixSelector":  # whose own selector the walk leaves out
            found.append((node.vector_selector, [*around, node]))
        found.append((node, [*around]))
        around.append(node)

    def leave(_: Any) -> None:
        around.pop()

    promql_parser.walk(tree, enter, leave)
    return found


def variables(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}
