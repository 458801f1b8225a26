"""One agent: its models, tools and retrievers, and what fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from agentmetrics.cli.top import fields
from agentmetrics.cli.top.glyphs import Glyphs
from agentmetrics.cli.top.strip import AgentRuns, strip_lines
from agentmetrics.live.view import AgentDetails


class DetailsScreen(Screen[None]):
    """The details of one agent, until Escape."""

    CSS = """
    DetailsScreen VerticalScroll { scrollbar-size: 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,backspace", "dismiss", "Back", key_display="Esc"),
    ]

    def __init__(self, found: AgentDetails, runs: AgentRuns, glyphs: Glyphs) -> None:
        super().__init__()
        self._found, self._runs, self._glyphs = found, runs, glyphs

    @property
    def agent(self) -> str:
        return self._found.row.agent

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(id="details", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.show(self._found, self._runs)

    def on_resize(self) -> None:
        self.show(self._found, self._runs)

    def show(self, found: AgentDetails, runs: AgentRuns) -> None:
        """Draw this instead."""
        self._found, self._runs = found, runs
        for shown in self.query("#details").results(Static):  # none before it is mounted
            lines = details_lines(found, runs, self._glyphs, self.app.size.width)
            shown.update(Text("\n").join(lines))


def details_lines(
    found: AgentDetails, runs: AgentRuns, glyphs: Glyphs, width: int
) -> Iterator[Text]:
    """Everything about an agent, line by line."""
    row = found.row
    yield Text(glyphs.name(row.agent), "bold", no_wrap=True, overflow="ellipsis")
    yield from (Text(f"! {mark.text}", "bold red") for mark in row.marks)
    yield Text(_active("run", row.active_runs, row.oldest_run_seconds, glyphs))
    yield Text(_active("call", row.active_calls, row.oldest_call_seconds, glyphs))
    each = glyphs.number(row.calls_per_run)
    yield Text(f"{glyphs.some(row.runs_total, 'run')} finished, {each} calls each")
    yield from strip_lines(runs, glyphs, width)
    yield from _section(fields.MODEL_FIELDS, found.models, glyphs, width)
    yield from _section(fields.TOOL_FIELDS, found.tools, glyphs, width)
    yield from _section(fields.RETRIEVER_FIELDS, found.retrievers, glyphs, width)
    yield from _section(fields.ERROR_FIELDS, found.errors, glyphs, width)


def _active(what: str, count: float | None, oldest: float | None, glyphs: Glyphs) -> str:
    said = f"{glyphs.some(count, what)} active"
    return f"{said}, the oldest {glyphs.age(oldest)}" if oldest else said


def _section(
    columns: Sequence[fields.Field[fields.Row]],
    rows: Sequence[fields.Row],
    glyphs: Glyphs,
    width: int,
) -> Iterator[Text]:
    if not rows:
        return
    yield Text()
    title, *lines = fields.lines(columns, rows, glyphs, width)
    yield Text(title, "bold")
    yield from map(Text, lines)
