"""The statements of a ledger, for either database, and what their errors and sums mean."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func
from sqlalchemy.exc import DataError, IntegrityError

from agentmetrics.budget.ledger import schema
from agentmetrics.budget.ledger.records import MOST
from agentmetrics.budget.ledger.schema import CLAIMS, LEDGER, WRITERS
from agentmetrics.budget.ledger.tally import AMOUNTS, Row

_HALF = 1 << 32


def exact_sums(*columns: ColumnElement[int]) -> list[ColumnElement[Any]]:
    """The sums of columns, each in two halves, which ``whole_sums`` puts together: SQLite's sum of
    integers fails where it is larger than one of them can be."""
    return [func.sum(half) for column in columns for half in (column // _HALF, column % _HALF)]


def whole_sums(halves: Sequence[Any]) -> list[int]:
    """What ``exact_sums`` has found."""
    numbers = list(map(int, halves))
    return [high * _HALF + low for high, low in zip(numbers[::2], numbers[1::2], strict=True)]


def is_of_a_row(error: BaseException) -> bool:
    """Whether a row is at fault, which will never pass: its numbers, or a constraint or trigger
    that somebody added. Anything else passes, and is tried again."""
    if isinstance(error, DataError | IntegrityError | OverflowError):
        return True
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _REFUSED_ROW


_REFUSED_ROW = ("P0001", "44000")
"""A trigger of PostgreSQL's that raises, and a view's check."""


def upsert(insert: Any) -> Any:
    """The statement that adds a row to what is there, and does nothing where a sum would be larger
    than the database can hold: SQLite would make a float of it."""
    row = insert(LEDGER)
    return row.on_conflict_do_update(
        index_elements=[LEDGER.c.bucket, LEDGER.c.key_hash],
        set_={name: LEDGER.c[name] + row.excluded[name] for name in AMOUNTS},
        where=and_(*(LEDGER.c[name] <= MOST - row.excluded[name] for name in AMOUNTS)),
    ).execution_options(preserve_rowcount=True)


def marks(insert: Any) -> tuple[Any, Any]:
    """A writer's mark, made unless it is there; and moved, if it is where the writer left it."""
    made = insert(WRITERS).values(
        writer=bindparam("named"), batch=bindparam("upto"), written_at=bindparam("now")
    )
    moved = made.on_conflict_do_update(
        index_elements=[WRITERS.c.writer],
        set_={"batch": made.excluded.batch, "written_at": made.excluded.written_at},
        where=WRITERS.c.batch == bindparam("after"),
    ).returning(WRITERS.c.batch)
    return made.on_conflict_do_nothing().execution_options(preserve_rowcount=True), moved


def mark(writer: str, upto: int) -> dict[str, Any]:
    """What the statements of ``marks`` are executed with."""
    return {"named": writer, "upto": upto, "now": int(time.time())}


def claim(insert: Any) -> Any:
    """A claim, which answers if it is the claimant's own."""
    made = insert(CLAIMS)
    return made.on_conflict_do_update(
        index_elements=[CLAIMS.c.claimed],
        set_={"claimant": made.excluded.claimant},
        where=CLAIMS.c.claimant == made.excluded.claimant,
    ).returning(CLAIMS.c.claimed)


def record(row: Row) -> dict[str, Any]:
    """What that of ``upsert`` is executed with."""
    sums = {name: getattr(row, name) for name in AMOUNTS}
    return {"key_hash": schema.key_hash(row.key), **row.key._asdict(), **sums}
