"""The command and its options."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from agentmetrics.cli.console import fail, require, tell


class Period(str, Enum):
    """What is summed up."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def cost(
    by: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer evaluates it, on Python 3.10 too
        typer.Option(
            metavar="LABELS",
            help="agent, provider, model, served_model, status or an extra label; "
            "comma-separated. With day, week or month, a table of each day, week or month.",
            show_default="agent",
        ),
    ] = None,
    agent: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME", help="Only calls of this agent. Can be repeated.", show_default=False
        ),
    ] = None,
    model: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME",
            help="Only calls that asked for this model or were served by it. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    period: Annotated[
        Optional[Period],  # noqa: UP045
        typer.Option(help="Period to sum up.", show_default="day"),
    ] = None,
    this_month: Annotated[
        bool, typer.Option("--this-month", help="The same as --period month.")
    ] = False,
    last_month: Annotated[
        bool, typer.Option("--last-month", help="The whole of the month before this one.")
    ] = False,
    since: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="TIME",
            help="Start: 2025-11-01, 2025-11-01T18:00, 2025-11, today, yesterday, monday, "
            "7d (days ago), 2w or 36h.",
            show_default="the start of the period",
        ),
    ] = None,
    until: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="TIME", help="End, exclusive.", show_default="the end of the period"),
    ] = None,
    chart: Annotated[
        bool,
        typer.Option("--chart", help="Draw a bar for each day, or week or month of a long time."),
    ] = False,
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Write a report to send on, a page in one file.",
            show_default=False,
        ),
    ] = None,
    png: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write a report as a picture.", show_default=False),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print every step and row as CSV.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    url: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="URL of the ledger; by default, AGENTMETRICS_LEDGER_URL.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what calls cost this day, week or month, beside the previous one and a projection.

    With AGENTMETRICS_BUDGETS_FILE, also shows how much of each budget is spent. Days are in
    AGENTMETRICS_TIMEZONE. Programs may write to the ledger at the same time.
    """
    require("ledger", "sqlalchemy")
    if png is not None:
        require("png", "matplotlib")
    month = _month(this_month, last_month, period, since, until)
    prints = _one_of({"--csv": csv, "--json": json, "--chart": chart})
    from agentmetrics.cli.cost import page, plain, terminal
    from agentmetrics.cli.cost.report import Request, ask

    report = ask(
        Request(
            by=by or ["agent"],
            period=period and period.value,
            month=month,
            since=since,
            until=until,
            agents=agent or [],
            models=model or [],
            url=url,
            is_drawn=chart or html is not None or png is not None,
        )
    )
    if html is not None:
        _write(html, page.made(report))
    if png is not None:
        from agentmetrics.cli.cost import picture

        _write(png, picture.made(report))
    if prints == "--csv":
        plain.print_csv(report)
    elif prints == "--json":
        plain.print_json(report)
    elif prints == "--chart":
        terminal.print_chart(report)
    elif html is None and png is None:
        terminal.print_table(report)
    else:
        tell("\n".join(f"Wrote {path}." for path in (html, png) if path is not None))


def _month(
    this: bool, last: bool, period: Period | None, since: str | None, until: str | None
) -> int | None:
    """How many months ago the one is that is asked for; ``None`` where none is."""
    asked = _one_of({"--this-month": this, "--last-month": last})
    others = {"--period": period, "--since": since, "--until": until}
    for name, value in others.items():
        if asked and value is not None:
            fail(f"use {asked} or {name}, not both", code=2)
    return {"--this-month": 0, "--last-month": 1}.get(asked or "")


def _one_of(options: dict[str, bool]) -> str | None:
    """The one that was given; ends the program where there are several."""
    given = [name for name, is_given in options.items() if is_given]
    if len(given) > 1:
        fail(f"use {' or '.join(given)}, not both", code=2)
    return given[0] if given else None


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        fail(f"cannot write to {str(path)!r}: {error.strerror}")
