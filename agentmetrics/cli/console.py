"""Where the command line prints: data on standard output, errors on standard error."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from agentmetrics.recording.unseen import visible as visible

_STAND_INS = {"–": "-", "≤": "<=", "─": "-", "…": "~"}  # noqa: RUF001
_STAND_INS |= dict.fromkeys("█▉▊▋▌", "#") | dict.fromkeys("▍▎▏", " ")


def print_anywhere() -> None:
    """Let standard output and error take every text, also where they are ASCII or Latin-1.

    What tables are drawn with has stand-ins; any other character is written as its escape, which
    keeps two names apart.
    """
    codecs.register_error("agentmetrics", _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="agentmetrics")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    stand_ins = (_STAND_INS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return "".join(stand_ins), error.end


def output() -> Console:
    """Standard output; rich leaves out colours where it is no terminal or ``NO_COLOR`` is set."""
    return _console()


def messages() -> Console:
    """Standard error."""
    return _console(stderr=True)


def _console(**options: Any) -> Console:
    # What is printed has users' names in it: '[bold]x' and 'a:apple:b' are to be seen as such.
    return _Console(highlight=False, markup=False, emoji=False, **options)


class _Console(Console):
    """One at which nothing in a name is a command to the terminal, or turns the line around."""

    def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def titled_table(title: str | None, *columns: str, **options: Any) -> Table:
    """A table as all commands show them; ``options`` are those of ``rich.table.Table``."""
    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE,
        show_edge=False,
        padding=(0, 1, 0, 0),
        **options,
    )


def tell(text: str) -> None:
    """Print prose: wrapped between words on a terminal, as it is into a file or a pipe."""
    screen = output()
    screen.print(text, soft_wrap=not screen.is_terminal)


def complain(sentence: str) -> None:
    """Say what is wrong, on one line."""
    line = Text("agentmetrics: ", style="bold red")
    messages().print(line.append(sentence, style="not bold default"), soft_wrap=True)


def note(sentence: str) -> None:
    """Say what is odd but not wrong."""
    line = Text("note: ", style="bold yellow")
    messages().print(line.append(sentence, style="not bold default"), soft_wrap=True)


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    complain(sentence)
    raise typer.Exit(code)


def require(extra: str, *packages: str) -> None:
    """End with what to install unless all of these packages are there."""
    for package in packages:
        if find_spec(package) is None:
            fail(
                f"this command needs the package {package!r}; "
                f"install it with: pip install 'llm-agentmetrics[{extra}]'"
            )
