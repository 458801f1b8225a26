"""The commands and their options."""

from __future__ import annotations

from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Optional

import typer

from agentmetrics.cli import check as checking
from agentmetrics.cli import prices
from agentmetrics.cli import serve as serving
from agentmetrics.cli.console import fail, require

DEFAULT_PORT = 9464  # the port that OpenTelemetry's Prometheus exporters have, free by convention
_DEMO_PACKAGES = (
    "langchain",
    "langchain_openai",
    "langgraph",
    "starlette",
    "uvicorn",
    "genai_prices",
    "prometheus_client",
    "prometheus_async",
    "aiohttp",
)

app = typer.Typer(
    help="Calls, tokens, cost, latency and errors of LLM agents, in the metrics system you have.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # else lines of docstrings are lines of the help
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(prices.app, name="prices")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]


class Period(str, Enum):
    """What ``cost`` sums up."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"agentmetrics {version('llm-agentmetrics')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Say the version and exit."
        ),
    ] = False,
) -> None:
    """What every command takes."""


@app.command()
def demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Go on with live traffic at /metrics until Ctrl-C.")
    ] = False,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, and nothing else.")
    ] = False,
) -> None:
    """Run three LangGraph agents against a model server on this machine and show their metrics.

    Needs no key and no network. Ends with 1 when the metrics are not what the server counted.
    """
    require("demo", *_DEMO_PACKAGES)
    from agentmetrics.cli import demo as demonstration

    if serve and json:
        fail("--serve prints a table for people: give --json without it", code=2)
    if serve:
        demonstration.serve(host, port)
    elif json:
        demonstration.print_json()
    else:
        demonstration.print_tables()


@app.command()
def check(
    modules: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--import",
            metavar="MODULE",
            help="Import this module first, as your program does: metrics of its own that are in "
            "the way are found. Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read the AGENTMETRICS_* settings, say what each backend would do, and try its connection.

    Exits with status 1 when something is wrong, and says what on standard error.
    """
    checking.run(checking.print_json if json else checking.print_table, modules or ())


@app.command()
def serve(
    directory: Annotated[
        Optional[Path],  # noqa: UP045 - typer evaluates it, on Python 3.10 too
        typer.Argument(
            envvar="PROMETHEUS_MULTIPROC_DIR",
            help="The multiprocess directory of prometheus-client.",
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
) -> None:
    """Serve /metrics of all processes that write to a multiprocess directory, until Ctrl-C."""
    require("prometheus", "prometheus_client")
    if directory is None:
        fail("give the directory to serve, or set PROMETHEUS_MULTIPROC_DIR", code=2)
    serving.run(directory, host, port)


@app.command()
def cost(
    by: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="agent, provider, model, status or an extra dimension; several with commas.",
            show_default="agent",
        ),
    ] = None,
    period: Annotated[Period, typer.Option(help="What to sum up.")] = Period.DAY,
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="From this date or time on, as 2025-11-01 or 2025-11-01T18:00.",
            show_default="the beginning of the period",
        ),
    ] = None,
    until: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Until just before this one.", show_default="the end of the period"),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print every period and row as CSV.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    url: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The ledger; else AGENTMETRICS_LEDGER_URL.", show_default=False),
    ] = None,
) -> None:
    """What calls have cost: this day, week or month, against the one before, and its end.

    With AGENTMETRICS_BUDGETS_FILE, also how the budgets stand now. Days are those of
    AGENTMETRICS_TIMEZONE. The ledger may be written meanwhile.
    """
    require("ledger", "sqlalchemy")
    from agentmetrics.cli import cost as costs

    if csv and json:
        fail("give --csv or --json, not both", code=2)
    report = costs.ask(period.value, ",".join(by or ["agent"]), since, until, url)
    show = costs.print_csv if csv else costs.print_json if json else costs.print_table
    show(report)
