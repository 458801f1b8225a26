"""What a ledger says of some calls is what adding them up by hand gives, in each database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentmetrics.budget.ledger import statements
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.question import ask
from agentmetrics.budget.ledger.schema import LEDGER
from agentmetrics.budget.ledger.summary import answer
from agentmetrics.budget.ledger.tally import AMOUNTS, Amounts, Key, Tally

ZONE = ZoneInfo("Europe/Berlin")
START = datetime(2025, 10, 24, tzinfo=ZONE)  # the clocks change on the 26th
QUARTERS = 5 * 96
NAMES = ("planner", "Planner", "wri%ter", "o'brien", 'a "b"', "日本", "<b>", "other")
MODELS = ("gpt-4o", "gpt-4o-mini", "GPT-4o", "_")
SERVED = ("", "gpt-4o-2024-08-06", "gpt-4o")

keys = st.builds(
    lambda quarter, agent, model, served, status: Key(
        int(START.timestamp()) + 900 * quarter, agent, "openai", model, served, status, "{}"
    ),
    st.integers(0, QUARTERS - 1),
    st.sampled_from(NAMES),
    st.sampled_from(MODELS),
    st.sampled_from(SERVED),
    st.sampled_from(["success", "error"]),
)
numbers = st.tuples(*(st.integers(0, 2**50) for _ in AMOUNTS))
only = st.fixed_dictionaries(
    {},
    optional={
        "agent": st.lists(st.sampled_from((*NAMES, "nobody")), min_size=1, max_size=3),
        "model": st.lists(st.sampled_from((*MODELS, *SERVED[1:])), min_size=1, max_size=3),
        "status": st.sampled_from(["success", "error"]),
    },
)


def is_meant(key: Key, only: Mapping[str, str | Sequence[str]]) -> bool:
    """The plain reference: whether a call is one of those that are asked for."""
    return (
        key.agent_name in only.get("agent", (key.agent_name,))
        and key.status == only.get("status", key.status)
        and ("model" not in only or bool({key.model, key.served_model} & set(only["model"])))
    )


def stored(database: Database, rows: Sequence[tuple[Key, tuple[int, ...]]]) -> None:
    """These rows, and no others, in the database."""
    tally = Tally()
    for key, amounts in rows:
        tally.add(key, amounts)
    with database._writing() as connection:
        connection.execute(LEDGER.delete())
        if tally.rows:
            records = [statements.record(row) for row in tally.rows.values()]
            connection.execute(LEDGER.insert(), records)


def test_some_calls_come_to_what_they_come_to_by_hand(ledger_url):
    database = Database(ledger_url)
    database.prepare()

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(
        st.lists(st.tuples(keys, numbers), max_size=12),
        only,
        st.integers(0, QUARTERS - 1),
        st.sampled_from(["daily", "weekly", "monthly"]),
    )
    def check(rows: Any, only: Any, first: int, step: Any) -> None:
        stored(database, rows)
        since, until = (
            datetime.fromtimestamp(START.timestamp() + 900 * quarter, timezone.utc)
            for quarter in (first, QUARTERS)
        )
        now = until.timestamp()
        question = ask("daily", ["agent"], since, until, step=step, only=only, now=now, zone=ZONE)
        with database.snapshot() as snapshot:
            summary = answer(question, snapshot)
        expected: dict[str, Amounts] = defaultdict(Amounts)
        by_day: dict[datetime, Amounts] = defaultdict(Amounts)
        for key, amounts in rows:
            if is_meant(key, only) and since.timestamp() <= key.bucket:
                expected[key.agent_name] += Amounts(*amounts)
                begins = max(
                    each.start for each in summary.periods if each.start.timestamp() <= key.bucket
                )
                by_day[begins] += Amounts(*amounts)
        assert {g.labels["agent_name"]: g.amounts for g in summary.groups} == expected
        assert summary.total == sum(expected.values(), Amounts())
        assert {p.start: p.total for p in summary.periods if p.groups} == by_day
        began = min((key.bucket for key, _ in rows), default=None)
        assert (summary.ledger_since and summary.ledger_since.timestamp()) == began

    check()
