"""The ledger as it was at one moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from typing import Any

from sqlalchemy import Connection, Select, func, select

from agentmetrics.budget.ledger.schema import LEDGER
from agentmetrics.budget.ledger.spend import CALL_LABELS, Spend, Spent
from agentmetrics.budget.ledger.statements import exact_sums, whole_sums
from agentmetrics.budget.ledger.tally import AMOUNTS, Amounts


class Snapshot:
    """The ledger as it was at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def amounts(self, start: int, end: int, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """For each set of values of these columns the values and their ``Amounts``.

        ``start`` and ``end`` are Unix seconds on a quarter of an hour; the end is not in it.
        """
        by = [LEDGER.c[name] for name in columns]
        sums = exact_sums(*(LEDGER.c[name] for name in AMOUNTS))
        query: Select[Any] = (
            select(*by, *sums)
            .where(LEDGER.c.bucket >= start, LEDGER.c.bucket < end)
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
