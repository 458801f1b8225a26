"""Tables that leave columns out where a terminal is too narrow for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.bar import Bar
from rich.cells import cell_len
from rich.table import Table

from agentmetrics.cli.console import titled_table

LABEL_WIDTH = 8
"""Labels are folded, but to no less than this; rather another column goes."""
BAR_WIDTH = 12
_BETWEEN = 2


@dataclass(frozen=True)
class Column:
    """A column that needs ``least`` characters; ``options`` are those of ``Table.add_column``."""

    title: str
    cells: Sequence[str | Bar]
    footer: str
    least: int
    options: Mapping[str, Any]


def labels(title: str, cells: Sequence[str], footer: str = "") -> Column:
    """Names of any length."""
    least = min(LABEL_WIDTH, _widest(title, footer, *cells))
    return Column(title, cells, footer, least, {"overflow": "fold"})


def numbers(title: str, cells: Sequence[str], footer: str = "") -> Column:
    """Numbers, none of which is ever cut."""
    options = {"justify": "right", "no_wrap": True}
    return Column(title, cells, footer, _widest(title, footer, *cells), options)


def bars(title: str, parts: Iterable[float], whole: float, width: int = BAR_WIDTH) -> Column:
    """What parts make up of a whole."""
    size = whole or 1
    cells = [Bar(size, 0, part, width=width, color="cyan") for part in parts]
    return Column(title, cells, "", width, {"width": width})


def fits(columns: Sequence[Column], width: int) -> bool:
    """Whether these columns have room beside each other."""
    return room_beside(columns, width) + _BETWEEN >= 0


def room_beside(columns: Sequence[Column], width: int) -> int:
    """How many characters are left for a column more."""
    taken = sum(column.least + _BETWEEN for column in columns)
    return width - taken - 1  # which is after the last


def fitted(
    title: str, columns: Sequence[Column], width: int, expendable: Iterable[str], **options: Any
) -> Table:
    """A table without as many of the ``expendable`` titles, the first first, as do not fit."""
    for gone in expendable:
        if fits(columns, width):
            break
        columns = [column for column in columns if column.title != gone]
    table = titled_table(title, **options)
    for column in columns:
        table.add_column(column.title, column.footer, **column.options)
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _widest(*texts: str) -> int:
    return max(cell_len(line) for text in texts for line in text.split("\n"))
