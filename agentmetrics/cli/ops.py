"""``agentmetrics ops``: dashboards, alert rules and runbooks, shown or exported."""

from __future__ import annotations

import json as json_format
import os
import shlex
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer
from rich.markdown import Markdown

from agentmetrics.cli.console import fail, messages, output, require, tell, titled_table

if TYPE_CHECKING:
    from agentmetrics.operations.kit import KitOptions
    from agentmetrics.operations.rules import Objectives

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
Slo = Annotated[
    Optional[Path],  # noqa: UP045 - typer evaluates it, on Python 3.10 too
    typer.Option(
        metavar="FILE",
        help="TOML file with the objectives that the alerts hold agents to.",
        show_default="built-in objectives",
    ),
]
Name = Annotated[Optional[str], typer.Argument(show_default=False)]  # noqa: UP045
Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


@app.command()
def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty directory.", show_default=False)
    ],
    namespace: Namespace = "",
    extra_labels: ExtraLabels = "",
    slo: Slo = None,
    receiver: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Whom Alertmanager tells: slack, webhook, pagerduty or email. Addresses and "
            "secrets come from the environment; a missing variable is named.",
            show_default="nobody",
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

    try:
        if not force:
            check_free(directory)
        options = _options(namespace, extra_labels, slo, receiver, only)
        with messages().status("Making the kit"):
            kit = make_kit(options)
        write_kit(kit, directory)
    except ValueError as error:
        fail(str(error), code=2)
    except OSError as error:
        fail(f"cannot write to {str(directory)!r}: {error.strerror}")
    if json:
        _print_summary_as_json(directory, kit.files)
    else:
        _print_summary(directory, kit.files)
        if kit.private:
            tell(f"Readable by you only, and not to be committed: {', '.join(sorted(kit.private))}")
        tell(_next_steps(directory, options.parts))


def _options(
    namespace: str, extra_labels: str, slo: Path | None, receiver: str | None, only: str | None
) -> KitOptions:
    from agentmetrics.operations import receivers
    from agentmetrics.operations.kit import PARTS, KitOptions

    return KitOptions(
        namespace=namespace,
        extra_labels=_names(extra_labels),
        objectives=_objectives(slo),
        receiver=receivers.receiver(receiver, os.environ) if receiver else receivers.NO_RECEIVER,
        parts=PARTS if only is None else _names(only),
    )


def _objectives(file: Path | None) -> Objectives:
    from agentmetrics.operations.rules import Objectives

    return Objectives() if file is None else Objectives.from_toml(file)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


_WHAT = {
    "dashboards": "grafana/*.json",
    "rule files": "prometheus/rules/*.yml",
    "rule tests": "prometheus/tests/*.yml",
    "runbooks": "runbooks/*.md",
    "configuration of Prometheus": "prometheus/*.yml",
    "configuration of Alertmanager": "alertmanager/**",
    "configuration of Grafana": "grafana/provisioning/**",
    "containers": "compose.yaml",
    "Kubernetes manifests": "kubernetes/*.yaml",
}


def _print_summary(directory: Path, files: Mapping[str, str]) -> None:
    tell(f"Written to {directory}:")
    table = titled_table(None, "what", "where")
    table.add_column("files", justify="right")
    for what, where in _WHAT.items():
        count = sum(1 for path in files if _is_in(path, where))
        if count:
            table.add_row(what, where, str(count))
    output().print(table)
    output().print()


def _is_in(path: str, where: str) -> bool:
    parent, _, name = where.rpartition("/")
    if name == "**":
        return path.startswith(f"{parent}/")
    folder, _, file = path.rpartition("/")
    return folder == parent and file.endswith(name.removeprefix("*"))


def _print_summary_as_json(directory: Path, files: Mapping[str, str]) -> None:
    counts = {
        what: count
        for what, where in _WHAT.items()
        if (count := sum(1 for path in files if _is_in(path, where)))
    }
    summary = {"directory": str(directory), "counts": counts, "files": list(files)}
    typer.echo(json_format.dumps(summary, indent=2))


def _next_steps(directory: Path, parts: Iterable[str]) -> str:
    where = shlex.quote(str(directory))
    steps = {
        "compose": (
            f"docker compose --project-directory {where} up",
            "Grafana at http://127.0.0.1:3000, Prometheus at :9090, Alertmanager at :9093",
        ),
        "prometheus": (
            f"promtool check config {where}/prometheus/prometheus.yml",
            "after adding your programs to targets.yml beside it",
        ),
        "alertmanager": (f"amtool check-config {where}/alertmanager/alertmanager.yml", ""),
        "kubernetes": (
            f"kubectl apply --server-side -n NAMESPACE -k {where}/kubernetes",
            "with the Prometheus operator in the cluster",
        ),
    }
    lines = ["Next steps"]
    for part, (command, comment) in steps.items():
        if part in parts:
            lines += [f"  {command}", f"    {comment}"] if comment else [f"  {command}"]
    return "\n".join(lines) if len(lines) > 1 else ""


@app.command()
def dashboards(
    name: Name = None, namespace: Namespace = "", extra_labels: ExtraLabels = "", json: Json = False
) -> None:
    """List the dashboards, or print the one called NAME as JSON, for Grafana to import."""
    require("ops", "yaml")
    from agentmetrics.operations.boards import boards
    from agentmetrics.operations.kit import board_text

    options = _checked(namespace, extra_labels)
    made = boards(options.namespace, options.extra_labels)
    if name is not None:
        typer.echo(board_text(made[_one_of(made, name, "dashboard")]), nl=False)
    elif json:
        found = [
            {"name": n, "uid": board["uid"], "title": board["title"]} for n, board in made.items()
        ]
        typer.echo(json_format.dumps(found, indent=2))
    else:
        table = titled_table(None, "name", "title", "uid")
        for each, board in made.items():
            table.add_row(each, board["title"], board["uid"])
        output().print(table)


@app.command()
def rules(name: Name = None, namespace: Namespace = "", slo: Slo = None) -> None:
    """Print all recording rules and alerts as YAML, or the alert called NAME."""
    require("ops", "yaml")
    from agentmetrics.operations.rules import rule_files
    from agentmetrics.operations.yaml_text import dump

    try:
        objectives = _objectives(slo)
    except ValueError as error:
        fail(str(error), code=2)
    groups = _groups(rule_files(objectives, _checked(namespace).namespace))
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
    from agentmetrics.operations.rules import runbooks

    pages = {
        Path(path).stem: text for path, text in runbooks(_checked(namespace).namespace).items()
    }
    if name is None:
        tell("\n".join(pages))
        return
    text = pages[_one_of(pages, name, "runbook")]
    screen = output()
    if screen.is_terminal:
        screen.print(Markdown(text))
    else:
        typer.echo(text, nl=False)


def _checked(namespace: str, extra_labels: str = "") -> KitOptions:
    from agentmetrics.operations.kit import KitOptions

    try:
        return KitOptions(namespace=namespace, extra_labels=_names(extra_labels))
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
    else:
        meant = f"use one of {', '.join(by_lower.values())}"
    fail(f"there is no {kind} {asked!r}; {meant}", code=2)
