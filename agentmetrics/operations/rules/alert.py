"""An alert as data: its rule, its runbook, and the series that its tests feed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus

Severity = Literal["critical", "warning", "info"]
Board = Literal["overview", "agent", "cost", "models", "platform", "itself"]

VARIABLES = ("job", "agent_name", "provider", "model")
"""The template variables of the boards, named as the labels are."""
_LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
_NUMBER = re.compile(r"(?<![x\d.])\d+(?:\.\d+)?")
_VALUE = re.compile(r"\{\{ \$value[^}]*\}\}")


@dataclass(frozen=True)
class Fires:
    """Input in which an alert is firing, with these labels and this value in its description.

    ``series`` are promtool's, with a sample a minute; ``at`` is the time of the look.
    """

    series: Mapping[str, str]
    at: str
    labels: Mapping[str, str]
    value: str


@dataclass(frozen=True)
class Silent:
    """Input that comes close to what an alert is for, in which it is not firing."""

    because: str
    series: Mapping[str, str]
    at: str


@dataclass(frozen=True)
class Runbook:
    """What the page of an alert says; ``look_at`` has a query by what it shows."""

    means: str
    who_is_hurt: str
    look_at: Mapping[str, str]
    causes: tuple[str, ...]
    do_now: tuple[str, ...]


@dataclass(frozen=True)
class Alert:
    """A rule that alerts.

    It fires when the ``condition`` holds and there is as much traffic as the ``floor`` asks for,
    below which a share or a quantile means little. ``labels`` are those that the two keep.
    ``when`` ends the sentence "Fires when …". ``summary`` and ``description`` are Prometheus
    templates, of ``{{ $labels.NAME }}`` and, in the description, ``{{ $value | … }}``.
    """

    name: str
    severity: Severity
    when: str
    condition: str
    for_: str
    labels: tuple[str, ...]
    board: Board
    summary: str
    description: str
    runbook: Runbook = field(repr=False)
    fires: tuple[Fires, ...] = field(repr=False)
    silent: tuple[Silent, ...] = field(repr=False)
    floor: str = ""

    @property
    def expr(self) -> str:
        """What Prometheus evaluates."""
        return f"{self.condition}\nand {self.floor}" if self.floor else self.condition

    @property
    def all_silent(self) -> tuple[Silent, ...]:
        """The silent cases, and for the floor, a thousandth of the traffic in which it fires."""
        if not self.floor:
            return self.silent
        case = self.fires[0]
        few = {series: _thousandth(values) for series, values in case.series.items()}
        return (*self.silent, Silent("there is too little of it to tell", few, case.at))

    def annotations(self, grafana_url: str, runbooks_url: str) -> dict[str, str]:
        """What the rule says of an alert, as templates."""
        variables = "".join(
            f"{{{{ with $labels.{name} }}}}&var-{name}={{{{ . | urlquery }}}}{{{{ end }}}}"
            for name in self._variables()
        )
        return {
            "summary": self.summary,
            "description": self.description,
            "runbook_url": f"{runbooks_url}/{self.name}.md",
            "dashboard_url": f"{grafana_url}{self._path()}{variables}",
        }

    def annotations_in(self, case: Fires, grafana_url: str, runbooks_url: str) -> dict[str, str]:
        """What the templates become in a test."""
        variables = "".join(
            f"&var-{name}={quote_plus(case.labels[name])}"
            for name in self._variables()
            if case.labels.get(name)
        )
        said = self.annotations(grafana_url, runbooks_url)
        for name in ("summary", "description"):
            text = _LABEL.sub(lambda it: case.labels.get(it[1], ""), said[name])
            said[name] = _VALUE.sub(lambda _: case.value, text)
        return {**said, "dashboard_url": f"{grafana_url}{self._path()}{variables}"}

    def _variables(self) -> list[str]:
        return [name for name in VARIABLES if name in self.labels]

    def _path(self) -> str:
        return f"/d/agentmetrics-{self.board}?from=now-3h&to=now"


def _thousandth(values: str) -> str:
    """Samples in promtool's notation, ``start+stepxtimes``, with a start and step of so much."""
    return _NUMBER.sub(lambda it: f"{float(it[0]) / 1000:f}", values)
