"""Tables as lines of text that fit into a width, whatever the names in them are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agentmetrics.recording.unseen import visible
from agentmetrics.summary.table import Column, Table

NAME_WIDTH = 16
"""Names are folded, but to no less than this; rather another column goes."""
_BETWEEN = "  "


@dataclass(frozen=True)
class Laid:
    """A table in lines; ``more`` is how many rows are not among them."""

    title: str
    of: str
    header: list[str]
    rows: list[str]
    footer: list[str]
    more: int

    @property
    def width(self) -> int:
        return max(map(cell_width, (*self.header, *self.rows, *self.footer)), default=0)

    def lines(self) -> Iterator[str]:
        """All of it."""
        rule = "-" * self.width
        yield from (self.title, *self.header, rule, *self.rows)
        if self.more:
            yield f"... {self.more:,} more {self.of}"
        if self.footer:
            yield from (rule, *self.footer)


def laid(table: Table, width: int, limit: int | None = None, encoding: str = "utf-8") -> Laid:
    """The first ``limit`` rows in at most ``width`` cells of a terminal.

    Expendable columns go where there is no room, names are folded, and numbers are never cut: past
    that, lines are longer. What ``encoding`` lacks of a name is its escape.
    """
    shown = table.rows if limit is None else min(table.rows, limit)
    columns = [_shown(column, shown, encoding) for column in table.columns]
    for gone in table.expendable:
        if _total(map(_least, columns)) <= width:
            break
        columns = [column for column in columns if column.title != gone]
    widths = _widths(columns, width)

    def lines(texts: Sequence[str]) -> list[str]:
        return list(_row(columns, texts, widths))

    rows = [
        line for cells in zip(*(c.cells for c in columns), strict=True) for line in lines(cells)
    ]
    deep = max(column.title.count("\n") for column in columns)
    titles = ["\n" * (deep - column.title.count("\n")) + column.title for column in columns]
    footer = lines([column.footer for column in columns]) if table.has_footer else []
    return Laid(table.title, table.of, lines(titles), rows, footer, table.rows - shown)


def cell_width(text: str) -> int:
    """How many cells of a terminal the text takes (UAX 11)."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shown(column: Column, rows: int, encoding: str) -> Column:
    cells = column.cells[:rows]
    if column.is_name:
        cells = [_carried(cell, encoding) for cell in cells]
    return Column(column.title, cells, column.footer, column.is_name)


def _carried(name: str, encoding: str) -> str:
    seen = visible(name).replace("\n", "\\x0a")
    return seen.encode(encoding, "backslashreplace").decode(encoding)


def _widest(column: Column) -> int:
    texts = (column.title, column.footer, *column.cells)
    return max(cell_width(line) for text in texts for line in text.split("\n"))


def _least(column: Column) -> int:
    return min(NAME_WIDTH, _widest(column)) if column.is_name else _widest(column)


def _total(widths: Iterator[int] | Sequence[int]) -> int:
    each = list(widths)
    return sum(each) + len(_BETWEEN) * (len(each) - 1)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """Of each column; the widest names give up what there is no room for."""
    widths, least = [*map(_widest, columns)], [*map(_least, columns)]
    while _total(widths) > width:
        can_give = [i for i, each in enumerate(widths) if each > least[i]]
        if not can_give:
            break
        widths[max(can_give, key=widths.__getitem__)] -= 1
    return widths


def _row(columns: Sequence[Column], texts: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    folded = [
        [piece for line in text.split("\n") for piece in _folded(line, width)]
        for text, width in zip(texts, widths, strict=True)
    ]
    for number in range(max(map(len, folded))):
        cells = []
        for column, pieces, width in zip(columns, folded, widths, strict=True):
            text = pieces[number] if number < len(pieces) else ""
            room = " " * (width - cell_width(text))
            cells.append(text + room if column.is_name else room + text)
        yield _BETWEEN.join(cells).rstrip(" ")


def _folded(text: str, width: int) -> Iterator[str]:
    """The text in pieces of at most ``width`` cells."""
    piece, taken = "", 0
    for character in text:
        size = _character_width(character)
        if taken + size > width and piece:
            yield piece
            piece, taken = "", 0
        piece, taken = piece + character, taken + size
    yield piece
