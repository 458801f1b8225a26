"""``top`` on a terminal: the figures, the table, and what keys do."""

from __future__ import annotations

import asyncio
import select
import signal
import sys
from collections.abc import Sequence
from time import localtime, strftime
from types import FrameType
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Footer, Input, Static

from agentmetrics.cli.console import visible
from agentmetrics.cli.top import fields, heading
from agentmetrics.cli.top.details import DetailsScreen
from agentmetrics.cli.top.feeds import Feeds
from agentmetrics.cli.top.glyphs import Glyphs
from agentmetrics.cli.top.help import HelpScreen
from agentmetrics.cli.top.strip import AgentRuns, column
from agentmetrics.cli.top.table import AgentTable
from agentmetrics.live.build import details, view
from agentmetrics.live.view import AgentDetails, View

WINDOWS = (10.0, 60.0, 300.0, 900.0)
"""Seconds; the last is as long as a watch remembers."""
_LOOKS_SECONDS = 0.25
_LEAVE_SECONDS = 5
"""How long it may take to give the terminal back, once SIGTERM has asked for it."""
_Choice = TypeVar("_Choice", float, str)


class Top(App[None]):
    """Draws what ``feeds`` bring, until somebody quits."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; }
    #title { height: 1; text-style: bold; }
    #heading { height: auto; max-height: 70%; }
    #filter { height: 1; border: none; padding: 0; display: none; }
    #filter.is-shown { display: block; }
    AgentTable { height: 1fr; margin-top: 1; scrollbar-size: 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", show=False, priority=True),
        Binding("question_mark,h", "help", "Help", key_display="?"),
        Binding("enter", "open", "Details", key_display="Enter"),
        Binding("slash,f", "filter", "Filter", key_display="/"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", show=False),
        Binding("p,space", "pause", "Pause", key_display="p"),
        Binding("w", "window(1)", "Window"),
        Binding("W", "window(-1)", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("escape", "clear", show=False),
    ]

    def __init__(
        self,
        feeds: Feeds,
        glyphs: Glyphs,
        *,
        window: float = WINDOWS[1],
        order: str = fields.MARKED_FIRST,
        reverse: bool = False,
        text: str = "",
    ) -> None:
        # The terminal's own colours, be they dark or light. Textual must know from the beginning
        # that they are: with NO_COLOR it would make black of them all, also of what is behind.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.feeds, self.glyphs = feeds, glyphs
        self.window, self.order, self.reverse, self.text = window, order, reverse, text
        self.is_paused = False
        self.seen: View | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield Static(id="heading", markup=False)
        yield Input(self.text, placeholder="part of an agent's name", id="filter")
        yield AgentTable(self.glyphs)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.table.focus()
        self.look()
        self.set_interval(_LOOKS_SECONDS, self.look)
        if not self.is_headless:
            self._leave_on_sigterm()
            self.set_interval(_LOOKS_SECONDS, self._leave_with_terminal)

    def _leave_on_sigterm(self) -> None:
        """Give the terminal back as it was; where it takes nothing any more, just end."""
        loop = asyncio.get_running_loop()

        def leave(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            loop.call_soon_threadsafe(self.exit)
            _end_soon()

        signal.signal(signal.SIGTERM, leave)

    def _leave_with_terminal(self) -> None:
        """End where the terminal is gone: nobody sees anything any more, nor can anybody quit."""
        if _has_hung_up():
            self.exit()
            _end_soon()

    def on_resize(self) -> None:
        """Break the heading's lines anew."""
        if self.seen is not None:
            self.call_after_refresh(self.show)

    @property
    def table(self) -> AgentTable:
        return self.screen_stack[0].query_one(AgentTable)

    def look(self) -> None:
        """Take what is new, and show it unless somebody wants to read in peace."""
        is_new = self.feeds.take()
        if is_new and not self.is_paused:
            self._see()
        if is_new or self.feeds.problems or self.seen is None:
            self.show()

    def _see(self) -> None:
        if self.feeds.watch.began is None:
            return
        self.seen = view(self.feeds.watch, self.window)
        if isinstance(self.screen, DetailsScreen):
            found = self.details_of(self.screen.agent)
            if found is not None:
                self.screen.show(found, self.runs_of(found.row.agent))

    def show(self) -> None:
        """Draw everything anew."""
        below = self.screen_stack[0]
        below.query_one("#title", Static).update(self._title())
        below.query_one("#heading", Static).update(self._heading(self.size.width))
        if self.seen is not None:
            rows = fields.arranged(self.seen.agents, self.order, self.reverse, self.text)
            runs = self.feeds.runs
            more = (column(runs),) if runs else ()
            self.table.show(rows, (*fields.agent_fields(self.seen.agents), *more))

    def details_of(self, agent: str) -> AgentDetails | None:
        """What one agent uses, as of the last snapshot."""
        return details(self.feeds.watch, agent, self.window)

    def runs_of(self, agent: str) -> AgentRuns:
        """The last runs of an agent, where somebody tells them."""
        return AgentRuns(self.feeds.runs.get(agent, ()), self.feeds.has_runs_of_all)

    def _title(self) -> Text:
        dot = f" {self.glyphs.dot} "
        parts = [f"agentmetrics top{dot}{_span(self.window)}"]
        if self.seen is not None:
            parts.append(strftime("%H:%M:%S", localtime(self.seen.time)))
            if 0 < self.seen.window_seconds < self.window - 1:
                parts.append(f"watching for {_span(self.seen.window_seconds)}")
        if self.text:
            parts.append(f"filter {self.text!r}")
        if self.order != fields.MARKED_FIRST or self.reverse:
            parts.append(f"by {self.order}{', reversed' if self.reverse else ''}")
        line = Text(dot.join(parts), no_wrap=True, overflow="ellipsis")
        if self.is_paused:
            line = Text("PAUSED ", "reverse") + line
        return line

    def _heading(self, width: int) -> Text:
        found: list[Text] = []
        if self.seen is not None:
            found += map(Text, heading.figures(self.seen, self.glyphs, width))
            for line, marks in heading.budgets(self.seen, self.glyphs, width):
                found.append(Text(line, heading.style_of(marks)))
            found += (Text(line, "bold red") for line in heading.marked(self.seen))
        elif waiting := [name for name in self.feeds.names if name not in self.feeds.problems]:
            found.append(Text(visible(f"Waiting for {', '.join(waiting)}")))
        found += (
            Text(visible(f"! {line}"), "bold yellow")
            for line in heading.away(self.feeds.problems, self.glyphs)
        )
        return Text("\n").join(found)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is about the table can only be done where it is seen."""
        is_of_table = action in ("open", "sort", "reverse", "filter", "clear")
        return not (is_of_table and len(self.screen_stack) > 1)

    def action_open(self) -> None:
        """Show the agent under the cursor."""
        agent = self.table.agent
        found = None if agent is None else self.details_of(agent)
        if found is not None:
            self.push_screen(DetailsScreen(found, self.runs_of(found.row.agent), self.glyphs))

    def action_sort(self, step: int) -> None:
        self.order = _next(fields.ORDERS, self.order, step)
        self.show()

    def action_reverse(self) -> None:
        self.reverse = not self.reverse
        self.show()

    def action_window(self, step: int) -> None:
        self.window = _next(WINDOWS, self.window, step)
        if not self.is_paused:
            self._see()
        self.show()

    def action_pause(self) -> None:
        self.is_paused = not self.is_paused
        if not self.is_paused:
            self._see()
        self.show()

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.add_class("is-shown")
        field.focus()

    def action_clear(self) -> None:
        """Leave the filter, and show all agents."""
        self.query_one("#filter", Input).value = ""
        self._end_filter()

    def action_help(self) -> None:
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def on_input_changed(self, event: Input.Changed) -> None:
        self.text = event.value
        self.show()

    def on_input_submitted(self) -> None:
        self._end_filter()

    def _end_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("is-shown")
        self.table.focus()


def _end_soon() -> None:
    if sys.platform != "win32":
        signal.alarm(_LEAVE_SECONDS)  # whose default is to end the process


def _has_hung_up() -> bool:
    """Whether standard input was a terminal, and it has been closed."""
    if not hasattr(select, "poll"):  # Windows, which ends the program itself
        return False
    asked = select.poll()
    asked.register(0, 0)
    return any(event & select.POLLHUP for _, event in asked.poll(0))


def _next(among: Sequence[_Choice], now: _Choice, step: int) -> _Choice:
    place = among.index(now) if now in among else 0
    return among[(place + step) % len(among)]


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min" if minutes and not rest else f"{round(seconds)} s"
