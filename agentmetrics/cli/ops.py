"""``agentmetrics ops``: dashboards, alert rules and runbooks, shown or exported."""

from __future__ import annotations

import json as json_format
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer
from rich.markdown import Markdown

from agentmetrics.cli import ops_summary
from agentmetrics.cli.console import fail, messages, output, require, tell, titled_table

if TYPE_CHECKING:
    from agentmetrics.operations.kit import KitOptions
    from agentmetrics.operations.rules.objectives import Objectives

app = typer.Typer(
    help="Dashboards, alert rules and runbooks, with the configuration of what runs them.",
    no_args_is_help=True,
)

Namespace = Annotated[
    str,
    typer.Option(
        envvar="AGENTMETRICS_NAMESPACE",
        help="Prefix of every metric name, as your programs set it.",
        show_default=False,
    ),
]
ExtraLabels = Annotated[
    str,
    typer.Option(
        envvar="AGENTMETRICS_EXTRA_LABELS",
        help="Extra labels of your programs, comma-separated; dashboards can be filtered by them.",
        show_default=False,
    ),
]
ExtraLabelsFor = Annotated[
    str,
    typer.Option(
        envvar="AGENTMETRICS_EXTRA_LABELS_FOR",
        help="The only metrics that have the extra labels, as your programs set it.",
        show_default=False,
    ),
]
Slo = Annotated[
    Optional[Path],  # noqa: UP045 - typer evaluates it, on Python 3.10 too
    typer.Option(
        metavar="FILE",
        help="TOML file with the objectives that the alerts hold agents to.",
        show_default="built-in objectives",
    ),
]
_INDEX = "/README.md"
_MOST_NAMED = 20
"""More names than these are not listed in an error."""
Name = Annotated[Optional[str], typer.Argument(metavar="NAME", show_default=False)]  # noqa: UP045
Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


@app.command()
def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty directory.", show_default=False)
    ],
    namespace: Namespace = "",
    extra_labels: ExtraLabels = "",
    extra_labels_for: ExtraLabelsFor = "",
    slo: Slo = None,
    receiver: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Whom Alertmanager notifies: slack, webhook, pagerduty or email. Addresses and "
            "secrets come from the environment; a missing variable is named.",
            show_default="nobody",
        ),
    ] = None,
    grafana_url: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="URL",
            help="The Grafana that alerts link to.",
            show_default="http://localhost:3000",
        ),
    ] = None,
    runbooks_url: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="URL",
            help="Where you publish the runbooks that alerts link to.",
            show_default="the project's repository",
        ),
    ] = None,
    only: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="PARTS",
            help="Comma-separated parts: grafana, prometheus, alertmanager, runbooks, compose, "
            "kubernetes.",
            show_default="all",
        ),
    ] = None,
    prometheus: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="URL",
            help="Check that this Prometheus has the agents of the objectives file.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write to a directory with files in it, replacing the kit's."),
    ] = False,
    json: Json = False,
) -> None:
    """Write dashboards, alert rules with their tests, runbooks, and the configuration of
    Prometheus, Alertmanager, Grafana, Docker Compose and Kubernetes.

    Nothing is written unless everything is right.
    """
    require("ops", "yaml")
    from agentmetrics.operations.export import check_free, write_kit
    from agentmetrics.operations.kit import make_kit
    from agentmetrics.operations.known_agents import check_agents

    try:
        with _refusing():
            if not force:
                check_free(directory)
            options = _options(
                namespace,
                extra_labels,
                extra_labels_for,
                _objectives(slo),
                receiver,
                only,
                grafana_url,
                runbooks_url,
            )
            if prometheus is not None:
                check_agents(options.objectives.agents, prometheus, namespace)
            with messages().status("Making the kit"):
                kit = make_kit(options)
            write_kit(kit, directory)
    except OSError as error:
        fail(f"cannot write to {str(directory)!r}: {error.strerror}")
    if json:
        ops_summary.print_json(directory, kit)
    else:
        ops_summary.print_table(directory, kit)


def _options(
    namespace: str,
    extra_labels: str = "",
    extra_labels_for: str = "",
    objectives: Objectives | None = None,
    receiver: str | None = None,
    only: str | None = None,
    grafana_url: str | None = None,
    runbooks_url: str | None = None,
) -> KitOptions:
    from agentmetrics.operations import receivers
    from agentmetrics.operations.kit import PARTS, KitOptions
    from agentmetrics.operations.rules.files import GRAFANA_URL, RUNBOOKS_URL
    from agentmetrics.operations.rules.objectives import Objectives

    return KitOptions(
        namespace=namespace,
        extra_labels=_names(extra_labels),
        extra_labels_for=_names(extra_labels_for),
        objectives=Objectives() if objectives is None else objectives,
        receiver=receivers.receiver(receiver, os.environ) if receiver else receivers.NO_RECEIVER,
        parts=PARTS if only is None else _names(only),
        grafana_url=GRAFANA_URL if grafana_url is None else grafana_url,
        runbooks_url=RUNBOOKS_URL if runbooks_url is None else runbooks_url,
    )


def _objectives(slo: Path | None) -> Objectives:
    from agentmetrics.operations.rules.objectives import Objectives

    return Objectives.built_in() if slo is None else Objectives.from_toml(slo)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@app.command()
def dashboards(
    name: Name = None,
    namespace: Namespace = "",
    extra_labels: ExtraLabels = "",
    extra_labels_for: ExtraLabelsFor = "",
    json: Json = False,
) -> None:
    """List the dashboards, or print the one called NAME as JSON, for Grafana to import."""
    require("ops", "yaml")
    from agentmetrics.operations.boards import boards
    from agentmetrics.operations.kit import board_text

    with _refusing():
        options = _options(namespace, extra_labels, extra_labels_for)
        made = boards(options.namespace, options.extra_labels, options.extra_labels_for)
    if name is not None:
        typer.echo(board_text(made[_one_of(made, name, "dashboard")]), nl=False)
    elif json:
        found = [
            {"name": n, "uid": board["uid"], "title": board["title"]} for n, board in made.items()
        ]
        typer.echo(json_format.dumps(found, indent=2))
    else:
        table = titled_table(None, "name", "title", "uid")
        table.columns[-1].overflow = "fold"
        for each, board in made.items():
            table.add_row(each, board["title"], board["uid"])
        output().print(table)


@app.command()
def rules(name: Name = None, namespace: Namespace = "", slo: Slo = None) -> None:
    """Print all recording rules and alerts as YAML, or the alert called NAME."""
    require("ops", "yaml")
    from agentmetrics.operations.rules.files import rule_files
    from agentmetrics.operations.yaml_text import dump

    with _refusing():
        options = _options(namespace, objectives=_objectives(slo))
    groups = _groups(rule_files(options.objectives, options.namespace))
    if name is None:
        typer.echo(dump({"groups": groups}), nl=False)
        return
    alerts: dict[str, list[dict[str, Any]]] = {}
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        alerts.setdefault(rule["alert"], []).append(rule)
    typer.echo(dump(alerts[_one_of(alerts, name, "alert")]), nl=False)


def _groups(files: Mapping[str, str]) -> list[dict[str, Any]]:
    import yaml

    rules = (text for path, text in files.items() if path.startswith("prometheus/rules/"))
    return [group for text in rules for group in yaml.safe_load(text)["groups"]]


@app.command()
def runbook(name: Name = None, namespace: Namespace = "") -> None:
    """Show the runbook of the alert called NAME, or list all of them."""
    require("ops", "yaml")
    from agentmetrics.operations.rules.files import runbooks

    with _refusing():
        made = runbooks(_options(namespace).namespace)
    pages = {Path(path).stem: text for path, text in made.items() if not path.endswith(_INDEX)}
    if name is None:
        tell("\n".join(pages))
        return
    text = pages[_one_of(pages, name, "runbook")]
    screen = output()
    if screen.is_terminal:
        screen.print(Markdown(text))
    else:
        typer.echo(text, nl=False)


@app.command()
def dogstatsd_mapper(
    namespace: Namespace = "",
    extra_labels: ExtraLabels = "",
    extra_labels_for: ExtraLabelsFor = "",
    common_labels: Annotated[
        str,
        typer.Option(
            envvar="AGENTMETRICS_COMMON_LABELS",
            help="Common labels of your programs, comma-separated; values are of no concern.",
            show_default=False,
        ),
    ] = "",
    prefix: Annotated[
        str,
        typer.Option(
            envvar=["AGENTMETRICS_STATSD_PREFIX", "STATSD_PREFIX"],
            help="First part of every StatsD name, as your programs set it.",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Print dogstatsd_mapper_profiles for a Datadog Agent that plain StatsD is sent to.

    Add them to its datadog.yaml: label values are then tags, and no parts of names.
    """
    require("ops", "yaml")
    from agentmetrics.operations.dogstatsd_mapper import mapper_profiles
    from agentmetrics.operations.yaml_text import dump

    common = tuple(name.partition("=")[0].strip() for name in _names(common_labels))
    with _refusing():
        options = _options(namespace, extra_labels, extra_labels_for)
        profiles = mapper_profiles(
            options.namespace, prefix, options.extra_labels, common, options.extra_labels_for
        )
    typer.echo(dump(profiles), nl=False)


@contextmanager
def _refusing() -> Iterator[None]:
    """End with 2 where what was typed is wrong."""
    try:
        yield
    except ValueError as error:
        fail(str(error), code=2)


def _one_of(names: Iterable[str], asked: str, kind: str) -> str:
    """The name as it is written; upper and lower case make no difference."""
    by_lower = {name.lower(): name for name in names}
    found = by_lower.get(asked.lower())
    return found if found is not None else _fail_unknown(by_lower, asked, kind)


def _fail_unknown(by_lower: Mapping[str, str], asked: str, kind: str) -> NoReturn:
    close = get_close_matches(asked.lower(), by_lower, n=3)
    if close:
        meant = f"did you mean {' or '.join(by_lower[each] for each in close)}?"
    elif len(by_lower) > _MOST_NAMED:
        meant = "`agentmetrics ops runbook` lists the names"
    else:
        meant = f"use one of {', '.join(by_lower.values())}"
    fail(f"there is no {kind} {asked!r}; {meant}", code=2)
