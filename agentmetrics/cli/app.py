"""The commands and their options."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from agentmetrics.cli import check as checking
from agentmetrics.cli import notices, ops, prices
from agentmetrics.cli import serve as serving
from agentmetrics.cli.console import fail, messages, require
from agentmetrics.cli.cost.command import cost

if TYPE_CHECKING:
    from agentmetrics.cli.demo.stack import Programs

DEFAULT_PORT = 9464  # the port that OpenTelemetry's Prometheus exporters have, free by convention
_DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}/metrics"
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
    "yaml",
)

app = typer.Typer(
    help="Calls, tokens, cost, latency and errors of LLM agents, in the metrics "
    "system you already use.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # else lines of docstrings are lines of the help
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command("cost")(cost)
app.add_typer(prices.app, name="prices")
app.add_typer(ops.app, name="ops")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")]

Page = Annotated[
    Optional[bool],  # noqa: UP045 - typer evaluates it, on Python 3.10 too
    typer.Option(
        "--page/--no-page",
        help="Serve the live page at /agentmetrics; by default where the address is of this "
        "machine alone.",
        show_default=False,
    ),
]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"agentmetrics {version('llm-agentmetrics')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What every command takes."""


@app.command()
def demo(
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Run live traffic of every kind, served at /metrics and as a live page, until "
            "Ctrl-C.",
        ),
    ] = False,
    stack: Annotated[
        bool,
        typer.Option("--stack", help="--serve, with Prometheus and Alertmanager beside it."),
    ] = False,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    page: Page = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON only; not with --serve or --stack.")
    ] = False,
) -> None:
    """Run LangGraph agents against a model server on this machine and show their metrics.

    Needs no API key and no network. Exits with status 1 when the metrics do not match what the
    server counted.
    """
    require("demo", *_DEMO_PACKAGES)
    if (serve or stack) and json:
        asked = "--stack" if stack else "--serve"
        fail(f"use --json without {asked}, which prints a table", code=2)
    programs = _programs_of_stack() if stack else None
    with messages().status("loading LangChain and LangGraph"):
        from agentmetrics.cli.demo import commands
    if programs is not None:
        commands.serve_stack(programs, host, port, page)
    elif serve:
        commands.serve(host, port, page)
    elif json:
        commands.print_json()
    else:
        commands.print_tables()


def _programs_of_stack() -> Programs:
    from agentmetrics.cli.demo.stack import installed

    return installed()


@app.command()
def check(
    modules: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--import",
            metavar="MODULE",
            help="Import this module first, as your program does, to find conflicts with its own "
            "metrics. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    notify: Annotated[
        bool,
        typer.Option("--notify", help="Send a test message to each destination of budget notices."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read the AGENTMETRICS_* settings, show what each backend would do, and test its connection.

    Exits with status 1 when something is wrong, and explains it on standard error.
    """
    show = checking.print_json if json else checking.print_table
    checking.run(show, modules or (), notices.send if notify else notices.look)


@app.command()
def serve(
    directory: Annotated[
        Optional[Path],  # noqa: UP045 - typer evaluates it, on Python 3.10 too
        typer.Argument(
            envvar="PROMETHEUS_MULTIPROC_DIR",
            help="The prometheus-client multiprocess directory.",
        ),
    ] = None,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    page: Page = None,
) -> None:
    """Serve /metrics for all processes that write to a multiprocess directory, until Ctrl-C.

    The live page beside it, /agentmetrics, shows them together in a browser; a token for it comes
    from AGENTMETRICS_PAGE_TOKEN.
    """
    require("prometheus", "prometheus_client")
    if directory is None:
        fail("pass the directory to serve, or set PROMETHEUS_MULTIPROC_DIR", code=2)
    serving.run(directory, host, port, page)


@app.command()
def top(
    sources: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="URL|DIR",
            help="/metrics of a program, or a multiprocess directory; several are summed. By "
            f"default PROMETHEUS_MULTIPROC_DIR, or else port {DEFAULT_PORT} of this machine.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print the table once, as where there is no terminal.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything once, as JSON.")] = False,
    window: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=1,
            max=900,
            help="Seconds that rates are over; with --once and --json, how long to look.",
            show_default="60; 5 with --once and --json",
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="'marked' for what needs attention first, or a column's title.")
    ] = "marked",
    reverse: Annotated[bool, typer.Option("--reverse", help="Reverse the order.")] = False,
    filter: Annotated[
        str, typer.Option(help="Show only agents with this in their names.", show_default=False)
    ] = "",
    interval: Annotated[
        float, typer.Option(min=0.2, max=60, help="Seconds between two scrapes.")
    ] = 2.0,
) -> None:
    """Show what agents do now: which run, since when, how fast, and what it costs a minute.

    Exits with status 1 when nothing could be read.
    """
    from agentmetrics.cli.top import command

    named = sources or [os.environ.get("PROMETHEUS_MULTIPROC_DIR") or _DEFAULT_URL]
    command.run(named, command.Looks(window, sort, reverse, filter, interval), once, json)
