"""The Grafana boards as they are committed, for a namespace and extra labels of the user."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any

from agentmetrics.operations.naming import in_namespace, with_matchers

BOARDS = ("overview", "agent", "cost", "models", "platform", "itself")
"""Their names; the uid of each in Grafana is ``agentmetrics-`` and the name."""

_PROMQL = ("expr", "query", "definition")
_PROSE = ("description", "content")
_VALUES_OF = "llm_calls_total"
"""What says which values the variables of labels have."""
_GROUPING = "group_by"
"""The variable that has labels as its values."""


def boards(namespace: str = "", extra_labels: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Each board by its name, as the JSON that Grafana imports.

    With ``extra_labels``, boards have a variable for each of them and select by it wherever a
    metric has it. Raises ``ValueError`` for a label whose name a variable of the boards has.
    """
    made = {}
    for name in BOARDS:
        text = files("agentmetrics").joinpath(f"dashboards/grafana/{name}.json").read_text("utf-8")
        board: dict[str, Any] = json.loads(text)
        _extend(board, extra_labels)
        for holder, key in _texts(board):
            holder[key] = in_namespace(holder[key], namespace)
        made[name] = board
    return made


def _extend(board: dict[str, Any], labels: Sequence[str]) -> None:
    """Add variables for the labels, and matchers, to a board that shows a metric with them."""
    variables = board["templating"]["list"]
    taken = {variable["name"] for variable in variables}
    if clash := taken.intersection(labels):
        raise ValueError(
            f"the extra label {min(clash)!r} is also the name of a variable of the boards: "
            f"use a name other than {', '.join(sorted(taken))}"
        )
    promql = [(holder, key) for holder, key in _texts(board) if key in _PROMQL]
    if not any(with_matchers(holder[key], labels) != holder[key] for holder, key in promql):
        return
    for holder, key in promql:
        holder[key] = with_matchers(holder[key], labels)
    after = next(place for place, v in enumerate(variables) if v["name"] == "instance") + 1
    chained = [_variable(variables[after - 1], labels, place) for place in range(len(labels))]
    variables[after:after] = chained
    for variable in variables:
        if variable["name"] == _GROUPING:
            offered = [{"selected": False, "text": label, "value": label} for label in labels]
            variable["options"] += offered
            variable["query"] = ",".join((variable["query"], *labels))


def _variable(like: dict[str, Any], labels: Sequence[str], place: int) -> dict[str, Any]:
    """A variable for one of the labels, narrowed by those before it."""
    label = labels[place]
    narrowed = with_matchers(f'{_VALUES_OF}{{job=~"$job", instance=~"$instance"}}', labels[:place])
    return {
        **like,
        "name": label,
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
