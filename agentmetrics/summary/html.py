"""Tables as HTML for notebooks: plain elements, no script, and every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from agentmetrics.recording.unseen import visible
from agentmetrics.summary.table import Column, Table

_BELOW = ' style="margin-bottom:1em"'
_TITLE = ' style="text-align:left;font-weight:bold;white-space:nowrap"'
_NUMBER = ' style="text-align:right;padding-left:1em;white-space:nowrap"'
_NAME = ' style="text-align:left" dir="auto"'  # of any script, without turning the row around


def page(tables: Sequence[Table], sentences: Iterable[str], limit: int) -> str:
    """The first ``limit`` rows of each, and what there is to say below them."""
    parts = [_table(table, limit) for table in tables]
    return f"<div>{''.join(parts)}{''.join(map(paragraph, sentences))}</div>"


def paragraph(sentence: str) -> str:
    return f"<p>{_text(sentence)}</p>"


def _table(table: Table, limit: int) -> str:
    return "".join(_elements(table, min(limit, table.rows)))


def _elements(table: Table, shown: int) -> Iterator[str]:
    columns = table.columns
    yield f"<table{_BELOW}><caption{_TITLE}>{_text(table.title)}</caption>"
    yield f"<thead><tr>{''.join(map(_title, columns))}</tr></thead><tbody>"
    for number in range(shown):
        yield f"<tr>{''.join(_cell('td', c, c.cells[number]) for c in columns)}</tr>"
    if table.rows > shown:
        more = f"{table.rows - shown:,} more {table.of}"
        yield f'<tr><td colspan="{len(columns)}"{_NAME}>{_text(more)}</td></tr>'
    yield "</tbody>"
    if table.has_footer:
        cells = (_cell("th", column, column.footer) for column in columns)
        yield f"<tfoot><tr>{''.join(cells)}</tr></tfoot>"
    yield "</table>"


def _cell(element: str, column: Column, text: str) -> str:
    side = _NAME if column.is_name else _NUMBER
    return f"<{element}{side}>{_text(text)}</{element}>"


def _title(column: Column) -> str:
    side = _NAME if column.is_name else _NUMBER
    lines = "<br>".join(map(_text, column.title.split("\n")))
    return f'<th scope="col"{side}>{lines}</th>'


def _text(text: str) -> str:
    return escape(visible(text.replace("\n", " ")))
