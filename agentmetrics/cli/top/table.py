"""The table of agents, of which only what is seen is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.scroll_view import ScrollView
from textual.strip import Strip

from agentmetrics.cli.top import fields
from agentmetrics.cli.top.glyphs import Glyphs
from agentmetrics.live.view import AgentRow

_TITLE = Style(bold=True)
_MARKED = Style(color="red", bold=True)
_CURSOR = Style(reverse=True)
_PLAIN = Style()
_IDLE = Style(dim=True)


class AgentTable(ScrollView, can_focus=True):
    """Agents in the order they are given; the cursor stays with its agent.

    One cell to the left of a name is kept for what marks it without colours.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "first", show=False),
        Binding("end,G", "last", show=False),
    ]

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__()
        self._glyphs = glyphs
        self._rows: Sequence[AgentRow] = ()
        self._columns: Sequence[fields.Field[AgentRow]] = fields.AGENT_FIELDS
        self._place = self._first = 0
        self._wide = 0
        self._said = ""
        """What stands in place of agents."""

    @property
    def agent(self) -> str | None:
        """The one under the cursor."""
        return self._rows[self._place].agent if self._rows else None

    @property
    def shown(self) -> list[str]:
        """The lines as they stand on the screen, without their styles."""
        return [self.render_line(y).text for y in range(self.size.height)]

    def show(self, rows: Sequence[AgentRow], columns: Sequence[fields.Field[AgentRow]]) -> None:
        """Draw these agents, in as many of the columns as there is room for."""
        agent, self._said = self.agent, "  no agents"
        self._rows, self._columns = rows, columns
        names = [row.agent for row in rows]
        if agent in names and self._place > 0:  # at the top the cursor stays where it is
            self._place = names.index(agent)
        self._place = min(self._place, max(0, len(rows) - 1))
        self._wide = max((cell_len(self._glyphs.name(name)) for name in names), default=0)
        self._scroll()

    def render_line(self, y: int) -> Strip:
        """One line: the title, an agent, or nothing."""
        width = self.size.width
        shown = fields.fitting(self._columns, width - 2)
        wide = fields.name_width(shown, width - 2, self._wide)
        if y == 0:
            return self._strip("  " + fields.title(shown, wide), _TITLE, width)
        place = self._first + y - 1
        if place >= len(self._rows):
            said = self._said if y == 1 and not self._rows else ""
            return self._strip(said, _IDLE, width)
        row = self._rows[place]
        is_here = place == self._place
        before = (self._glyphs.cursor if is_here else " ") + ("!" if row.marks else " ")
        style = _MARKED if row.marks else _IDLE if _is_idle(row) else _PLAIN
        text = before + fields.line(shown, row, self._glyphs, wide)
        return self._strip(text, style + _CURSOR if is_here else style, width)

    @staticmethod
    def _strip(text: str, style: Style, width: int) -> Strip:
        return Strip([Segment(text, style)]).adjust_cell_length(width, style)

    @property
    def _room(self) -> int:
        return max(1, self.size.height - 1)

    def _scroll(self) -> None:
        last = max(0, len(self._rows) - self._room)
        self._first = min(max(self._first, self._place - self._room + 1, 0), self._place, last)
        self.refresh()

    def _move_to(self, place: int) -> None:
        self._place = min(max(0, place), max(0, len(self._rows) - 1))
        self._scroll()

    def action_move(self, step: int) -> None:
        self._move_to(self._place + step)

    def action_page(self, step: int) -> None:
        self._move_to(self._place + step * self._room)

    def action_first(self) -> None:
        self._move_to(0)

    def action_last(self) -> None:
        self._move_to(len(self._rows) - 1)

    def on_resize(self, event: Resize) -> None:
        self._scroll()

    def on_mouse_scroll_down(self) -> None:
        self._move_to(self._place + 1)

    def on_mouse_scroll_up(self) -> None:
        self._move_to(self._place - 1)

    def on_click(self, event: Click) -> None:
        """Put the cursor there; a second click opens."""
        place = self._first + event.y - 1
        if event.y > 0 and place < len(self._rows):
            self._move_to(place)
            if event.chain == 2:
                self.app.call_later(self.app.run_action, "open")


def _is_idle(row: AgentRow) -> bool:
    return not (row.active_runs or row.active_calls or row.flow.calls_per_minute)
