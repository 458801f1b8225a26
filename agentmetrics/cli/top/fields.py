"""The columns of ``top``, what is left out where a terminal is narrow, and the lines of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

from rich.cells import cell_len, set_cell_size

from agentmetrics.cli.top.glyphs import Glyphs
from agentmetrics.live.view import AgentRow, ErrorRow, ModelRow, ToolRow

Row = TypeVar("Row")
NAME_WIDTH = 12
"""The least that a name has; rather another column goes."""


@dataclass(frozen=True)
class Field(Generic[Row]):
    """A column: ``rank`` says how dispensable it is; the first column never is."""

    title: str
    width: int
    rank: int
    text: Callable[[Row, Glyphs], str]
    key: Callable[[Row], float | str | None] | None = None
    """What rows are sorted by: numbers from the highest, names from the first."""


def _of(path: str, draw: str, title: str, width: int, rank: int) -> Field[AgentRow]:
    """A number of an agent, drawn by that method of ``Glyphs``."""
    get = attrgetter(path)
    return Field(title, width, rank, lambda row, glyphs: getattr(glyphs, draw)(get(row)), get)


TODAY = _of("usd_today", "usd", "today", 7, 5)
"""USD by the ledger, and no column where no program has one."""
AGENT_FIELDS: tuple[Field[AgentRow], ...] = (
    Field("agent", NAME_WIDTH, 0, lambda row, glyphs: glyphs.name(row.agent), attrgetter("agent")),
    _of("active_runs", "count", "runs", 4, 1),
    _of("oldest_run_seconds", "age", "oldest", 6, 0),
    _of("calls_per_run", "number", "c/run", 5, 9),
    _of("flow.input_tokens_per_second", "number", "in/s", 5, 4),
    _of("flow.output_tokens_per_second", "number", "out/s", 5, 4),
    _of("flow.first_token_seconds", "seconds", "first", 5, 8),
    _of("flow.p50_seconds", "seconds", "p50", 5, 7),
    _of("flow.p95_seconds", "seconds", "p95", 5, 3),
    _of("flow.error_share", "share", "error", 5, 0),
    _of("flow.cache_share", "share", "cache", 5, 10),
    _of("flow.usd_per_minute", "usd", "USD/min", 7, 0),
    TODAY,
    _of("flow.usd_total", "usd", "USD", 7, 6),
    Field("last minute", 12, 2, lambda row, glyphs: glyphs.course(row.course)),
)


def agent_fields(rows: Iterable[AgentRow]) -> tuple[Field[AgentRow], ...]:
    """Those that there is something to say in."""
    has_ledger = any(row.usd_today is not None for row in rows)
    return tuple(field for field in AGENT_FIELDS if has_ledger or field is not TODAY)


def _flow_fields(title: str, name: Callable[[ModelRow], str]) -> tuple[Field[ModelRow], ...]:
    def of(path: str, draw: str, title: str, width: int, rank: int) -> Field[ModelRow]:
        get = attrgetter(f"flow.{path}")
        return Field(title, width, rank, lambda row, glyphs: getattr(glyphs, draw)(get(row)))

    return (
        Field(title, NAME_WIDTH, 0, lambda row, glyphs: glyphs.name(name(row))),
        of("calls_total", "count", "calls", 6, 2),
        of("calls_per_minute", "number", "/min", 5, 0),
        of("input_tokens_per_second", "number", "in/s", 5, 5),
        of("output_tokens_per_second", "number", "out/s", 5, 5),
        of("first_token_seconds", "seconds", "first", 5, 6),
        of("p50_seconds", "seconds", "p50", 5, 4),
        of("p95_seconds", "seconds", "p95", 5, 1),
        of("error_share", "share", "error", 5, 0),
        of("cache_share", "share", "cache", 5, 7),
        of("usd_per_minute", "usd", "USD/min", 7, 3),
        of("usd_total", "usd", "USD", 7, 0),
    )


MODEL_FIELDS = _flow_fields("model", lambda row: f"{row.model} ({row.provider})")


def _tool_fields(title: str) -> tuple[Field[ToolRow], ...]:
    return (
        Field(title, NAME_WIDTH, 0, lambda row, glyphs: glyphs.name(row.name)),
        Field("active", 6, 3, lambda row, glyphs: glyphs.count(row.active)),
        Field("total", 6, 1, lambda row, glyphs: glyphs.count(row.total)),
        Field("/min", 5, 0, lambda row, glyphs: glyphs.number(row.per_minute)),
        Field("p50", 5, 2, lambda row, glyphs: glyphs.seconds(row.p50_seconds)),
        Field("p95", 5, 0, lambda row, glyphs: glyphs.seconds(row.p95_seconds)),
        Field("error", 5, 0, lambda row, glyphs: glyphs.share(row.error_share)),
    )


TOOL_FIELDS = _tool_fields("tool")
RETRIEVER_FIELDS = _tool_fields("retriever")
ERROR_FIELDS: tuple[Field[ErrorRow], ...] = (
    Field("error", NAME_WIDTH, 0, lambda row, _: row.error_type),
    Field("total", 6, 0, lambda row, glyphs: glyphs.count(row.total)),
    Field("recent", 6, 0, lambda row, glyphs: glyphs.count(row.recent)),
)

MARKED_FIRST = "marked"
"""The order in which what is marked comes first, and then what costs most."""
ORDERS = (MARKED_FIRST, *(field.title for field in AGENT_FIELDS if field.key))


def arranged(rows: Iterable[AgentRow], order: str, reverse: bool, text: str) -> list[AgentRow]:
    """The agents with this text in their names, in one of the ``ORDERS``.

    What is not known comes last in any of them, and so does an agent that does nothing.
    """
    text = text.casefold()
    found = [row for row in rows if text in row.agent.casefold()]
    if order == MARKED_FIRST:
        found.sort(key=lambda row: (not row.marks, _place(row.flow.usd_per_minute)))
    else:
        (key,) = (field.key for field in AGENT_FIELDS if field.key and field.title == order)
        found.sort(key=lambda row: _place(key(row)))
    return found[::-1] if reverse else found


def _place(value: float | str | None) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (1.0 if value is None else -value, "")


def fitting(fields: Sequence[Field[Row]], width: int) -> list[Field[Row]]:
    """The fields that there is room for: the most dispensable go first."""
    left = list(fields)
    while len(left) > 1 and sum(field.width + 1 for field in left) - 1 > width:
        left.remove(max(reversed(left[1:]), key=attrgetter("rank")))
    return left


def lines(
    fields: Sequence[Field[Row]], rows: Sequence[Row], glyphs: Glyphs, width: int
) -> Iterator[str]:
    """The title and each row, as wide as they need to be and no wider than this."""
    left = fitting(fields, width)
    names = (cell_len(left[0].text(row, glyphs)) for row in rows)
    wide = name_width(left, width, max(names, default=0))
    yield title(left, wide)
    for row in rows:
        yield line(left, row, glyphs, wide)


def name_width(fields: Sequence[Field[Row]], width: int, longest: int) -> int:
    """How wide the first field is, beside the others."""
    room = width - sum(field.width + 1 for field in fields[1:])
    return max(1, min(room, max(longest, len(fields[0].title))))


def title(fields: Sequence[Field[Row]], wide: int) -> str:
    """The line above the rows."""
    return _joined(fields, wide, [field.title for field in fields])


def line(fields: Sequence[Field[Row]], row: Row, glyphs: Glyphs, wide: int) -> str:
    """The line of one row."""
    return _joined(fields, wide, [field.text(row, glyphs) for field in fields])


def _joined(fields: Sequence[Field[Row]], wide: int, texts: Sequence[str]) -> str:
    cells = [set_cell_size(_cut(texts[0], wide), wide)]
    cells += [text.rjust(field.width) for field, text in zip(fields[1:], texts[1:], strict=True)]
    return " ".join(cells)


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1))}~"
