"""Tables: a row for each label set, a column for each expression, links to the agent's board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query

from boards.panels import (
    COUNT,
    EMPTY_CELL,
    NO_TRAFFIC,
    OF_CELL,
    PLAIN,
    Steps,
    described,
    instant,
    panel,
    refs,
)


@dataclass(frozen=True)
class Column:
    """A column of a table, with colours where a value is good or bad."""

    expr: str
    unit: str
    steps: Steps = PLAIN


def rows(
    title: str,
    labels: Mapping[str, str],
    columns: Mapping[str, Column],
    about: str,
    *,
    sort: str,
    empty: str = "No traffic",
    width: int = 24,
    height: int = 9,
) -> table.Panel:
    """A row for each label set; ``labels`` are their titles, ``columns`` are by their titles."""
    exprs = [column.expr for column in columns.values()]
    made = panel(table.Panel(), title, described(about, *exprs), "string", (width, height))
    made.min_width(80).no_value(empty).mappings([EMPTY_CELL, NO_TRAFFIC])
    names = dict(labels)
    for ref, (heading, column) in zip(refs(len(columns)), columns.items(), strict=True):
        made.with_target(instant(column.expr, ref).format(query.PromQueryFormat.TABLE))
        names[f"Value #{ref}" if len(columns) > 1 else "Value"] = heading
        made.override_by_name(heading, _cell(column))
    if agent := labels.get("agent_name"):
        link = {"title": "Look into this agent", "url": OF_CELL.build().url, "targetBlank": False}
        made.override_by_name(agent, [model.DynamicConfigValue("links", [link])])
    made.with_transformation(model.DataTransformerConfig("merge", options={}))
    made.with_transformation(
        model.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(names)},
                "renameByName": names,
            },
        )
    )
    return made.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])


def _cell(column: Column) -> list[model.DynamicConfigValue]:
    set_to = [model.DynamicConfigValue("unit", column.unit)]
    if column.unit == COUNT:
        set_to.append(model.DynamicConfigValue("decimals", 0))
    if column.steps:
        steps: list[dict[str, object]] = [{"color": "text", "value": None}]
        steps += [{"color": colour, "value": value} for value, colour in column.steps]
        set_to += [
            model.DynamicConfigValue("thresholds", {"mode": "absolute", "steps": steps}),
            model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ]
    return set_to
