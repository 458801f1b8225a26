"""A table as texts, before it is laid out for a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column: its title of one or two lines, a cell for each row, and one below the table.

    Names are as they were recorded: whoever shows them escapes what must not be shown.
    """

    title: str
    cells: Sequence[str]
    footer: str = ""
    is_name: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of ``of``, such as agents; where there is no room, the ``expendable`` titles go, the
    first first."""

    title: str
    of: str
    columns: Sequence[Column]
    expendable: Sequence[str] = ()

    @property
    def rows(self) -> int:
        return len(self.columns[0].cells)

    @property
    def has_footer(self) -> bool:
        """The total of a single row would say the same again."""
        return self.rows > 1 and bool(self.columns[0].footer)
