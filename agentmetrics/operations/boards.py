"""The Grafana boards as they are committed, for a namespace and extra labels of the user."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from agentmetrics.catalog import LLM_CALLS, has_extra_labels
from agentmetrics.operations.naming import METRICS, in_namespace, with_matchers

BOARDS = ("overview", "agent", "cost", "models", "platform", "itself")
"""Their names; the uid of each in Grafana is ``agentmetrics-`` and the name."""

_PROMQL = ("expr", "query", "definition")
_PROSE = ("description", "content")
_GROUPING = "group_by"
"""The variable that has labels as its values."""


def boards(
    namespace: str = "", extra_labels: Sequence[str] = (), extra_labels_for: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Each board by its name, as the JSON that Grafana imports.

    With ``extra_labels``, boards have a variable for each of them and select by it wherever a
    metric has it: by default every metric that can, else those that ``extra_labels_for`` names.
    """
    made = {}
    for name in BOARDS:
        text = files("agentmetrics").joinpath(f"dashboards/grafana/{name}.json").read_text("utf-8")
        board: dict[str, Any] = json.loads(text)
        _extend(board, extra_labels, extra_labels_for)
        for holder, key in _texts(board):
            holder[key] = in_namespace(holder[key], namespace)
        made[name] = board
    return made


def _extend(board: dict[str, Any], labels: Sequence[str], only: Sequence[str]) -> None:
    """Add variables for the labels, and matchers, to a board that shows a metric with them."""
    variables = board["templating"]["list"]
    taken = {variable["name"] for variable in variables}
    named = {label: f"label_{label}" if label in taken else label for label in labels}
    promql = [(holder, key) for holder, key in _texts(board) if key in _PROMQL]
    if not any(with_matchers(holder[key], named, only) != holder[key] for holder, key in promql):
        return
    for holder, key in promql:
        holder[key] = with_matchers(holder[key], named, only)
    after = next(place for place, v in enumerate(variables) if v["name"] == "instance") + 1
    for variable in variables:
        if variable["name"] == _GROUPING:
            offered = [{"selected": False, "text": label, "value": label} for label in labels]
            variable["options"] += offered
            variable["query"] = ",".join((variable["query"], *labels))
    chained = [_variable(variables[after - 1], named, only, label) for label in labels]
    variables[after:after] = chained


def _variable(
    like: dict[str, Any], named: Mapping[str, str], only: Sequence[str], label: str
) -> dict[str, Any]:
    """A variable for one of the labels, narrowed by those before it."""
    having = (metric for metric in METRICS.values() if has_extra_labels(metric, only))
    values_of = LLM_CALLS if has_extra_labels(LLM_CALLS, only) else next(having)
    before = list(named.items())[: list(named).index(label)]
    selector = f'{values_of.name}{{job=~"$job", instance=~"$instance"}}'
    narrowed = with_matchers(selector, dict(before), only)
    return {
        **like,
        "name": named[label],
        "label": label.replace("_", " ").capitalize(),
        "query": f"label_values({narrowed}, {label})",
    }


def _texts(part: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Where a board speaks of metrics: the objects and keys of its PromQL and its prose."""
    if isinstance(part, dict):
        for key, value in part.items():
            if isinstance(value, str) and key in (*_PROMQL, *_PROSE):
                yield part, key
            else:
                yield from _texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _texts(value)
