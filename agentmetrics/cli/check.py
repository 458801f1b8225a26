"""``agentmetrics check``: the settings, what each backend would do, and whether it can."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

from agentmetrics import backends
from agentmetrics.budget.ledger.url import shown, without_password
from agentmetrics.budget.periods import zone_of
from agentmetrics.cli import notices
from agentmetrics.cli.console import complain, note, output, titled_table
from agentmetrics.config.assembly import (
    make_budgets,
    make_options,
    make_push_at_exit,
    make_recorder,
    naming_backends,
    naming_ledger,
)
from agentmetrics.config.loading import load_settings, variable_of
from agentmetrics.config.settings import Settings
from agentmetrics.errors import ConfigurationError, LedgerUnavailable
from agentmetrics.machine.reading import Machine
from agentmetrics.pipeline import declare_catalog
from agentmetrics.recording.recorder import Recorder

if TYPE_CHECKING:
    from agentmetrics.budget.budgets.budget import Budget

PROBE_SECONDS = 3.0
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as its variable would be written."""

    variable: str
    value: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend that the settings name, the ledger, the budgets or who is told of them; why it
    cannot work, if so."""

    name: str
    does: str
    problem: str | None


@dataclass(slots=True)
class Report:
    """What ``check`` found; ``problems`` is empty when all is well."""

    settings: list[Setting] = field(default_factory=list)
    backends: list[Backend] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(
    show: Callable[[Report], None],
    modules: Sequence[str] = (),
    attempt: notices.Attempt = notices.look,
) -> None:
    """Examine the environment, show the findings, and exit with status 1 if there is a problem."""
    report = examine(modules, attempt)
    show(report)
    for problem in report.problems:
        complain(problem)
    if report.problems:
        raise typer.Exit(1)
    if attempt is notices.send and not any(it.name == "notices" for it in report.backends):
        note("nothing was sent: no budget in AGENTMETRICS_BUDGETS_FILE names a destination")


def examine(modules: Sequence[str] = (), attempt: notices.Attempt = notices.look) -> Report:
    """Import what a program imports, make the recorder that the environment asks for, and try its
    connections; ``attempt`` is what to try with the destinations of budget notices."""
    report = Report()
    report.problems += _not_imported(modules)
    try:
        settings = load_settings()
    except ConfigurationError as error:
        report.problems += error.args
        return report
    report.settings = [_setting(settings, name) for name in Settings.model_fields]
    try:
        recorder = make_recorder(settings)
        with naming_backends(settings.backend):
            declare_catalog(make_options(settings).instruments(recorder))  # and send nothing
    except ConfigurationError as error:
        report.problems += error.args
        return report
    for name, backend in zip(settings.backend, _leaves(recorder), strict=True):
        problem = _probe(backend)
        report.backends.append(Backend(name, _does(name, settings), problem))
        if problem:
            report.problems.append(f"{variable_of('backend')}={name!r}: {problem}")
    more = [_system(settings)] if settings.system_metrics else []
    more += [_pushgateway(settings, recorder)] if settings.pushgateway_url else []
    recorder.close()
    more += [_ledger(settings.ledger_url, settings)] if settings.ledger_url else []
    more += _budgets(settings, attempt) if settings.budgets_file else []
    report.backends += more
    report.problems += [one.problem for one in more if one.problem]
    return report


def _not_imported(modules: Sequence[str]) -> Iterator[str]:
    """A sentence for each module that cannot be imported; the others have put what they put on
    the registry that the Prometheus backend is to share."""
    if modules:
        sys.path.insert(0, "")  # as ``python -m`` does
    for module in modules:
        try:
            import_module(module)
        except Exception as error:  # a program may do anything when it is imported
            yield f"--import {module}: {type(error).__name__}: {error}"


def _system(settings: Settings) -> Backend:
    reading = Machine(settings.system_disk_path).read()
    cores, memory = reading.cpu_limit_cores, reading.memory_limit_bytes
    limits = [
        "CPU" if cores is None else f"CPU ({cores:g} cores)",
        "memory" if memory is None else f"memory ({memory / _MIB:.0f} MiB)",
        f"the disk at {settings.system_disk_path}",
    ]
    return Backend("system", f"reads {', '.join(limits)} and the process when it is scraped", None)


def _pushgateway(settings: Settings, recorder: Recorder) -> Backend:
    assert settings.pushgateway_url is not None
    url = without_password(settings.pushgateway_url.get_secret_value())
    try:
        push = make_push_at_exit(settings, recorder)
    except ConfigurationError as error:
        return Backend("pushgateway", f"pushes to {url} at exit", str(error))
    assert push is not None
    push.give_up()
    group = {"job": push.gateway.job, **push.gateway.grouping}
    labels = ", ".join(f"{name}={value!r}" for name, value in group.items())
    does = f"pushes to {push.gateway.shown} at exit, as {labels}"
    return Backend("pushgateway", does, push.gateway.probe())


def _ledger(url: SecretStr, settings: Settings) -> Backend:
    does = (
        f"writes to {without_password(url.get_secret_value())} every "
        f"{settings.ledger_flush_interval:g} s"
    )
    try:
        with naming_ledger(url):
            from agentmetrics.budget.ledger.database import Database

            try:
                Database(url.get_secret_value()).probe()
            except LedgerUnavailable as error:
                raise ConfigurationError(str(error)) from None
    except ConfigurationError as error:
        return Backend("ledger", does, str(error))
    return Backend("ledger", does, None)


def _budgets(settings: Settings, attempt: notices.Attempt) -> list[Backend]:
    does = f"applies the budgets in {settings.budgets_file}"
    try:
        budgets = make_budgets(settings)
    except ConfigurationError as error:
        return [Backend("budgets", does, str(error))]
    names = ", ".join(f"{budget.name} ({_holds(budget, settings)})" for budget in budgets)
    told = notices.tried(budgets, zone_of(settings.timezone), attempt)
    return [
        Backend("budgets", f"{does}: {names}", None),
        *(Backend("notices", does, problem) for does, problem in told),
    ]


def _holds(budget: Budget, settings: Settings) -> str:
    """What a budget does, and how far it may be overspent."""
    if budget.action == "warn":
        return "warn"
    if budget.is_shared:
        return "block; processes overspend nothing"
    if not settings.ledger_url:
        return "block; each process by itself"
    who = "other processes spend" if budget.reserve else "is under way or other processes spend"
    return f"block; overspent at most by what {who} within {settings.ledger_flush_interval:g} s"


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
        text = shown(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return Setting(variable_of(name), text, name not in settings.model_fields_set)


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
