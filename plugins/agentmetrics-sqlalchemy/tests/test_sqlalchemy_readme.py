"""The README: its examples run, and it names what there is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agentmetrics import MemoryRecorder, catalog
from agentmetrics_sqlalchemy import OPERATIONS

README = (Path(__file__).parents[1] / "README.md").read_text()
SYNC, ASYNC = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_its_examples_record_what_it_says(
    postgres: Callable[[], str],
    agent_metrics: MemoryRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres()
    monkeypatch.setenv("DATABASE_URL", url.replace("://", "+psycopg://"))
    monkeypatch.setenv("ASYNC_DATABASE_URL", url.replace("://", "+asyncpg://"))
    program: dict[str, Any] = {}
    exec(SYNC, program)
    program["engine"].dispose()
    assert agent_metrics.value("db_queries_total", operation="select") == 1
    assert agent_metrics.value("db_connections_max", pool="postgresql") == 15

    async def run() -> None:
        exec(ASYNC, program)
        async with program["engine"].connect() as connection:
            await connection.execute(text("SELECT 1"))
            assert agent_metrics.value("db_connections_active", pool="main") == 1
        await program["engine"].dispose()

    asyncio.run(run())
    assert agent_metrics.value("db_queries_total", operation="select") == 2


def test_its_table_has_the_metrics_and_their_labels() -> None:
    rows = re.findall(r"^\| `(db_\w+)` \| (\w+) \| `(\w+)` \|", README, re.MULTILINE)
    named = {(row.name, row.kind, *row.labels) for row in catalog.PLATFORM if row.name[:3] == "db_"}
    assert set(rows) == named


def test_it_names_every_operation() -> None:
    said = README.partition("**`operation`** is")[2].partition(":")[0]
    assert set(re.findall(r"`(\w+)`", said)) == set(OPERATIONS)
