"""``agentmetrics check``: the settings, what each backend would do, and whether it can."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches

import typer
from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

from agentmetrics import backends
from agentmetrics.cli.console import complain, note, output, titled_table
from agentmetrics.config.assembly import make_budgets, make_recorder, naming_ledger
from agentmetrics.config.settings import (
    PREFIX,
    ConfigurationError,
    Settings,
    load_settings,
    variable_of,
    without_password,
)
from agentmetrics.recording.recorder import Recorder

PROBE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as its variable would say it."""

    variable: str
    value: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend that the settings name, the ledger or the budgets; why it cannot work, if so."""

    name: str
    does: str
    problem: str | None


@dataclass(slots=True)
class Report:
    """What ``check`` found; ``problems`` is empty when all is well."""

    settings: list[Setting] = field(default_factory=list)
    backends: list[Backend] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(show: Callable[[Report], None]) -> None:
    """Examine the environment, show what was found, and end with 1 when something is wrong."""
    report = examine()
    show(report)
    for variable in _unknown_variables():
        note(variable)
    for problem in report.problems:
        complain(problem)
    if report.problems:
        raise typer.Exit(1)


def examine() -> Report:
    """Make the recorder that the environment asks for, and try its connections."""
    report = Report()
    try:
        settings = load_settings()
        report.settings = [_setting(settings, name) for name in Settings.model_fields]
        recorder = make_recorder(settings)
    except ConfigurationError as error:
        report.problems.append(str(error))
        return report
    for name, backend in zip(settings.backend, _leaves(recorder), strict=True):
        problem = _probe(backend)
        report.backends.append(Backend(name, _does(name, settings), problem))
        if problem:
            report.problems.append(f"{variable_of('backend')}={name!r}: {problem}")
    recorder.close()
    more = [_ledger(settings.ledger_url, settings)] if settings.ledger_url else []
    more += [_budgets(settings)] if settings.budgets_file else []
    report.backends += more
    report.problems += [one.problem for one in more if one.problem]
    return report


def _ledger(url: SecretStr, settings: Settings) -> Backend:
    does = (
        f"writes to {without_password(url.get_secret_value())} every "
        f"{settings.ledger_flush_interval:g} s"
    )
    try:
        with naming_ledger(url):
            from agentmetrics.budget.ledger.database import Database, LedgerUnavailable

            try:
                Database(url.get_secret_value()).probe()
            except LedgerUnavailable as error:
                raise ConfigurationError(str(error)) from None
    except ConfigurationError as error:
        return Backend("ledger", does, str(error))
    return Backend("ledger", does, None)


def _budgets(settings: Settings) -> Backend:
    does = f"holds calls to the budgets of {settings.budgets_file}"
    try:
        names = ", ".join(f"{budget.name} ({budget.action})" for budget in make_budgets(settings))
    except ConfigurationError as error:
        return Backend("budgets", does, str(error))
    return Backend("budgets", f"{does}: {names}", None)


def _leaves(recorder: Recorder) -> Iterator[Recorder]:
    if not recorder.inner:
        yield recorder
    for inner in recorder.inner:
        yield from _leaves(inner)


def _probe(backend: Recorder) -> str | None:
    """Why a backend that has a connection to try cannot deliver; ``None`` when it can."""
    probe: Callable[[float], str | None] | None = getattr(backend, "probe", None)
    return probe(PROBE_SECONDS) if probe else None


def _does(name: str, settings: Settings) -> str:
    if name == "memory":
        return "keeps every value in the process, for get_recorder().value() and .snapshot()"
    if name == "noop":
        return "records nothing"
    if name == "statsd":
        address = f"{settings.statsd_protocol}://{settings.statsd_host}:{settings.statsd_port}"
        return f"sends to {address} every {settings.statsd_flush_interval:g} s"
    if name == "prometheus":
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if directory:
            return f"writes to {directory}, which `agentmetrics serve` serves for all processes"
        return (
            "adds its series to prometheus-client's default registry, for the program's own "
            "/metrics or agentmetrics.exposition"
        )
    return f"comes from {backends.available()[name].value}"


def _setting(settings: Settings, name: str) -> Setting:
    value = getattr(settings, name)
    if value is None:
        text = ""
    elif isinstance(value, SecretStr):
        text = without_password(value.get_secret_value())
    elif isinstance(value, dict):
        text = ",".join(f"{key}={text}" for key, text in value.items())
    else:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return Setting(variable_of(name), text, name not in settings.model_fields_set)


def _unknown_variables() -> Iterator[str]:
    known = [variable_of(name) for name in Settings.model_fields]
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            close = get_close_matches(variable.upper(), known, n=1)
            meant = f"; is {close[0]} meant?" if close else ""
            yield f"{variable} is set, and agentmetrics itself has no such setting{meant}"


def print_table(report: Report) -> None:
    """For people."""
    screen = output()
    if report.settings:
        settings = _table("Settings", "variable", "value")
        for setting in report.settings:
            text = f"{setting.value or '–'}{' (default)' if setting.is_default else ''}"  # noqa: RUF001
            settings.add_row(setting.variable, text, style="dim" if setting.is_default else "")
        screen.print(settings)
    if report.backends:
        table = _table("Backends", "name", "what it does", "state")
        for backend in report.backends:
            state = Text("fails", "red") if backend.problem else Text("ok", "green")
            table.add_row(backend.name, backend.does, state)
        screen.print()
        screen.print(table)


def _table(title: str, *columns: str) -> Table:
    table = titled_table(title, *columns)
    for column in table.columns:
        column.overflow = "fold"  # variables, paths and addresses are for copying
    return table


def print_json(report: Report) -> None:
    """For programs."""
    typer.echo(json.dumps({"ok": not report.problems, **asdict(report)}, indent=2))
