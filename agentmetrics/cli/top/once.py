"""``top --once`` and ``--json``: what there is to see in a few seconds."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.text import Text

from agentmetrics.cli.console import complain, output
from agentmetrics.cli.top import fields, heading
from agentmetrics.cli.top.feeds import Feeds
from agentmetrics.cli.top.glyphs import glyphs_of_output
from agentmetrics.cli.top.sources import Source
from agentmetrics.live.build import view
from agentmetrics.live.view import AgentRow, View

WINDOW_SECONDS = 5.0
"""How long one looks unless told otherwise."""
MOST_SECONDS = 90.0
"""How much longer it takes at most, if a source is slow."""
_LOOKS_SECONDS = 0.05


def run(
    sources: Sequence[Source], window: float, order: str, reverse: bool, text: str, as_json: bool
) -> None:
    """Look for so many seconds, and print. Ends with 1 if nothing at all could be read."""
    feeds = Feeds(sources, interval=min(window, 2.0))
    until = time.monotonic() + window + MOST_SECONDS
    while time.monotonic() < until and not _has_seen(feeds, window):
        time.sleep(_LOOKS_SECONDS)
        feeds.take()
    feeds.close()
    seen = view(feeds.watch, window)
    rows = fields.arranged(seen.agents, order, reverse, text)
    if as_json:
        _print_json(feeds, seen, rows)
    elif feeds.watch.began is not None:
        _print_table(seen, rows)
    for name, problem in feeds.problems.items():
        complain(f"{name} {problem.text}")
    if feeds.watch.began is None:
        raise typer.Exit(1)


def _has_seen(feeds: Feeds, window: float) -> bool:
    if sum(problem.is_final for problem in feeds.problems.values()) == len(feeds.names):
        return True
    return feeds.answers >= 2 and feeds.watch.has_watched(window)


def _print_json(feeds: Feeds, seen: View, rows: Sequence[AgentRow]) -> None:
    found = dataclasses.asdict(dataclasses.replace(seen, agents=tuple(rows)))
    problems = {name: problem.text for name, problem in feeds.problems.items()}
    runs = {agent: [run._asdict() for run in of] for agent, of in feeds.runs.items()}
    sources = [{"source": name, "problem": problems.get(name)} for name in feeds.names]
    typer.echo(
        json.dumps({"sources": sources, **found, "last_runs": runs}, indent=2, allow_nan=False)
    )


def _print_table(seen: View, rows: Sequence[AgentRow]) -> None:
    screen, glyphs = output(), glyphs_of_output()
    # A file or a pipe has room for everything, unless somebody says how much.
    width = screen.width if screen.is_terminal or "COLUMNS" in os.environ else 160
    for line in heading.figures(seen, glyphs, width):
        _put(screen, line)
    for line, marks in heading.budgets(seen, glyphs, width):
        _put(screen, line, heading.style_of(marks))
    for line in heading.marked(seen):
        _put(screen, line, "red")
    _put(screen)
    if not rows:
        _put(screen, "No agents.")
        return
    title, *lines = fields.lines(fields.agent_fields(rows), rows, glyphs, width)
    _put(screen, title, "bold")
    for line, row in zip(lines, rows, strict=True):
        _put(screen, line, "red" if row.marks else "")


def _put(screen: Console, line: str = "", style: str = "") -> None:
    screen.print(Text(line, style), soft_wrap=True)
