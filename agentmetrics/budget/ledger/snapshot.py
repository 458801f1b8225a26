"""The ledger as it was at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from agentmetrics.budget.ledger.schema import LEDGER
from agentmetrics.budget.ledger.spend import CALL_LABELS, Spend, Spent
from agentmetrics.budget.ledger.statements import exact_sums, whole_sums
from agentmetrics.budget.ledger.tally import AMOUNTS, Amounts

NAMED_IN = {"model": ("model", "served_model")}
"""A model is meant by the name that was asked for and by the one that served, as in budgets."""

_SUMS = exact_sums(*(LEDGER.c[name] for name in AMOUNTS))
"""Made once: for a span of some milliseconds of the database they take as long to put together."""


class Snapshot:
    """The ledger as it was at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def began(self) -> int | None:
        """The first second of the oldest row (Unix time); ``None`` where there is none."""
        return self._connection.execute(select(func.min(LEDGER.c.bucket))).scalar()

    def has(self, label: str, name: str) -> bool:
        """Whether a row of any time has this name."""
        query = select(LEDGER.c.bucket).where(*_taken({label: (name,)})).limit(1)
        return self._connection.execute(query).first() is not None

    def names(self, label: str) -> set[str]:
        """All the names that rows of any time have."""
        found: set[str] = set()
        for column in NAMED_IN.get(label, (label,)):
            found |= set(self._connection.execute(select(LEDGER.c[column]).distinct()).scalars())
        return found - {""}

    def amounts(
        self,
        start: int,
        end: int,
        columns: Sequence[str],
        only: Mapping[str, Sequence[str]] | None = None,
    ) -> list[tuple[Any, ...]]:
        """For each set of values of these columns the values and their ``Amounts``.

        ``start`` and ``end`` are Unix seconds on a quarter of an hour; the end is not in it.
        ``only`` has for labels the values of which a row must have one.
        """
        by = [LEDGER.c[name] for name in columns]
        query: Select[Any] = (
            select(*by, *_SUMS)
            .where(LEDGER.c.bucket >= start, LEDGER.c.bucket < end, *_taken(only or {}))
            .group_by(*by)
            .having(func.count() > 0)  # without columns there would be a row of nothing
        )
        return [
            (*row[: len(by)], Amounts(*whole_sums(row[len(by) :])))
            for row in self._connection.execute(query)
        ]

    def spent(self, spend: Spend) -> Spent:
        """What a scope has spent in its span."""
        names = [LEDGER.c[name] for name in (*CALL_LABELS, "served_model", "dimensions")]
        sums = exact_sums(LEDGER.c.cost_nano_usd, LEDGER.c.unpriced_calls)
        query = (
            select(*names, *sums)
            .where(LEDGER.c.bucket >= spend.start, LEDGER.c.bucket < spend.end)
            .where(*(LEDGER.c[name] == value for name, value in spend.scope.columns().items()))
            .group_by(*names)
        )
        found = (
            Spent(*whole_sums(row[len(names) :]))
            for row in self._connection.execute(query)
            if spend.scope.takes(
                row.agent_name,
                row.provider,
                row.model,
                row.served_model,
                json.loads(row.dimensions),
            )
        )
        return reduce(Spent.plus, found, Spent(0, 0))


def _taken(only: Mapping[str, Sequence[str]]) -> Iterator[ColumnElement[bool]]:
    """The conditions under which a row has, of each label, one of the values."""
    for label, values in only.items():
        yield or_(*(LEDGER.c[column].in_(values) for column in NAMED_IN.get(label, (label,))))
