"""What the keys do, and what the columns mean."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

HELP = """\
KEYS
up down  move, also k j, PgUp PgDn,
         Home End
Enter    the agent's last runs, models,
         tools, retrievers, errors
s S      sort by the next column, by the
         one before
r        reverse the order
/        show agents with this in their
         names; Esc shows all
p        pause, go on
w W      rates over 10 s, 1, 5 or
         15 minutes
q        quit; Ctrl-Z suspends

COLUMNS
runs     runs in progress
oldest   age of the oldest of them
c/run    calls of a finished run, mean
in/s     input tokens a second
out/s    output tokens a second
first    time to the first token, median
p50 p95  latency of calls
error    share of calls that failed
cache    share of input tokens that came
         from the provider's cache
USD/min  cost a minute
today    cost since midnight, by the
         ledger
USD      cost since the program started
last minute
         tokens, in steps of 5 s
last runs
         a bar each, by duration; x c i
         failed, cancelled, interrupted

MARKS
! stuck  a run is open for 15 minutes,
         and no call or tool has ended
! call   a call is in flight for
         15 minutes
! loops  60 calls for each open run in
         10 minutes, and no run ended
Budgets are yellow when 80% is spent or
the projection is above the limit, red
when they are spent, or will be within
an hour.
"""


class HelpScreen(Screen[None]):
    """Help, until any of the keys that close it."""

    CSS = """
    HelpScreen VerticalScroll { scrollbar-size: 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,question_mark,h", "dismiss", "Back", key_display="Esc")
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(HELP, markup=False)
        yield Footer(compact=True, show_command_palette=False)
