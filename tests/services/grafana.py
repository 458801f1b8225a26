"""What Grafana does with a board before it asks Prometheus: variables and intervals put in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INTERVALS = {
    "__interval": "15s",
    "__interval_ms": "15000",
    "__rate_interval": "1m0s",
    "__range": "3600s",
    "__range_s": "3600",
    "__range_ms": "3600000",
}
"""For an hour on the screen, and a data source as it is set up at first."""
_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]")
_SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|]")

Chosen = Mapping[str, Sequence[str]]
"""What a reader chose of a variable; nothing for All, or for the value it starts with."""


@dataclass(frozen=True)
class Target:
    """A query of a panel, and whether it is of one moment."""

    panel: str
    expr: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.panel}: {self.expr}"


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a board, those in rows that are folded included; not the rows."""
    for panel in board["panels"]:
        yield from panel.get("panels", ())
        if panel["type"] != "row":
            yield panel


def targets(board: Mapping[str, Any], chosen: Chosen) -> list[Target]:
    """The queries of a board, as Prometheus gets them."""
    values = variables(board, chosen)
    found = []
    for panel in panels(board):
        last = {"__range": panel["timeFrom"]} if "timeFrom" in panel else {}
        for target in panel.get("targets", ()):
            expr = interpolated(target["expr"], {**values, **last})
            found.append(Target(panel["title"], expr, target["instant"]))
    return found


def variables(board: Mapping[str, Any], chosen: Chosen) -> dict[str, str]:
    """The text of each variable in PromQL."""
    made = dict(INTERVALS)
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if name in chosen:
            made[name] = _text(variable, chosen[name])
        elif variable.get("includeAll"):
            made[name] = variable["allValue"]
        elif "current" in variable:
            made[name] = variable["current"]["value"]
    return made


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """The text with the values of its variables; ``KeyError`` for one that is not there."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2] or found[4]], text)


def _text(variable: Mapping[str, Any], values: Sequence[str]) -> str:
    """As Grafana's Prometheus data source has it: a variable of many values is a pattern."""
    if not (variable["multi"] or variable["includeAll"]):
        (value,) = values
        return value
    patterns = [_SPECIAL.sub(r"\\\\\g<0>", value.replace("\\", "\\\\\\\\")) for value in values]
    return patterns[0] if len(patterns) == 1 else f"({'|'.join(patterns)})"
