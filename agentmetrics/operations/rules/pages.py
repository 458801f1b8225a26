"""Runbooks as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from agentmetrics.operations.naming import in_namespace
from agentmetrics.operations.rules.alert import Alert

AT_ONCE = "0s"


def runbook(alert: Alert, namespace: str) -> str:
    """The page of one alert, with its queries as a ``namespace`` exposes them."""
    return "\n".join(_lines(alert, namespace)) + "\n"


def _lines(alert: Alert, namespace: str) -> Iterator[str]:
    said = alert.runbook
    yield f"# {alert.name}"
    yield ""
    yield f"**{alert.severity}**: fires when {alert.when}{lasting(alert)}."
    yield from ("", "## What it means", "", said.means)
    yield from ("", "## Who is hurt", "", said.who_is_hurt)
    yield from ("", "## What to look at")
    for shows, query in said.look_at.items():
        yield from ("", f"{shows}:", "", "```promql", in_namespace(query, namespace), "```")
    yield from ("", "## Usual causes", "", *(f"- {cause}" for cause in said.causes))
    steps = [f"{number}. {step}" for number, step in enumerate(said.do_now, 1)]
    yield from ("", "## What to do now", "", *steps)
    yield from ("", "## How to silence it", "", "While somebody works on it:", "")
    yield from ("```sh", _silence(alert), "```")
    yield from ("", "## The rule", "", "```promql", in_namespace(alert.expr, namespace), "```")


def lasting(alert: Alert) -> str:
    """How long the condition must hold, as the end of a sentence."""
    return "" if alert.for_ == AT_ONCE else f", for {alert.for_}"


def _silence(alert: Alert) -> str:
    matchers = " ".join((f"alertname={alert.name}", *(f'{name}="…"' for name in alert.labels)))
    return (
        f"amtool silence add {matchers} --duration=2h --comment='…' \\\n"
        "  --alertmanager.url=http://localhost:9093"
    )


def index(subjects: Mapping[str, Iterable[Alert]]) -> str:
    """The list of all runbooks, by subject."""
    lines = ["# Runbooks", "", "A page for each alert."]
    for name, alerts in subjects.items():
        lines += ["", f"## {title(name)}", "", "| alert | severity | fires when |", "|---|---|---|"]
        lines += [
            f"| [{alert.name}]({alert.name}.md) | {alert.severity} | {alert.when} |"
            for alert in alerts
        ]
    return "\n".join(lines) + "\n"


def title(subject: str) -> str:
    """A heading from the name of a file."""
    named = {"http": "HTTP", "itself": "agentmetrics itself", "first-token": "First token"}
    return named.get(subject, subject.capitalize())
