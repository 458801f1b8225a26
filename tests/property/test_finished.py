"""A call that is told when it is over counts as one that was tracked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agentmetrics import Budget, Budgets, Ledger, MemoryRecorder, record_call, track_call, track_run

names = st.sampled_from(["a", "b"])
tokens = st.none() | st.integers(0, 10**6)
calls = st.fixed_dictionaries(
    {
        "provider": st.sampled_from(["openai", "house"]),
        "model": st.sampled_from(["gpt-4o-mini", "house-1"]),
        "agent_name": st.none() | names,
        "input_tokens": tokens,
        "output_tokens": tokens,
        "cost_usd": st.none() | st.floats(0, 10),
        "cached": st.booleans(),
        "error": st.sampled_from([None, TimeoutError, KeyboardInterrupt, ValueError]),
    }
)
TIMED = ("seconds", "_mb", "rss", "available", "timestamp", "projected")
"""What differs since one took time."""


def tracked(call: dict[str, Any], recorder: MemoryRecorder) -> None:
    with (
        suppress(TimeoutError, KeyboardInterrupt, ValueError),
        track_call(
            call["provider"], call["model"], agent_name=call["agent_name"], recorder=recorder
        ) as tracking,
    ):
        tracking.record_usage(
            call["input_tokens"], call["output_tokens"], cost_usd=call["cost_usd"]
        )
        if call["cached"]:
            tracking.record_cached()
        if call["error"]:
            raise call["error"]


def told(call: dict[str, Any], recorder: MemoryRecorder) -> None:
    rest = {key: value for key, value in call.items() if key != "error"}
    record_call(**rest, error_type=call["error"], duration_seconds=0.001, recorder=recorder)


@contextmanager
def watched() -> Iterator[tuple[MemoryRecorder, Ledger, Budget]]:
    recorder, budget = MemoryRecorder(), Budget("all", 1e6)
    with (
        TemporaryDirectory() as directory,
        Ledger(f"sqlite:///{directory}/spend.db") as ledger,
    ):
        ledger.attach(recorder)
        budgets = Budgets([budget], recorder, ledger=ledger)
        yield recorder, ledger, budget
        budgets.close()


def counted(recorder: MemoryRecorder) -> dict[Any, Any]:
    return {
        (family.metric.name, labels): getattr(value, "sum", value)
        for family in recorder.collect()
        if not any(part in family.metric.name for part in TIMED)
        for labels, value in family.series
    }


@settings(max_examples=12, deadline=None)  # each opens two ledgers
@given(st.lists(calls, max_size=8), st.none() | names)
def test_a_call_that_is_told_counts_as_one_that_was_tracked(
    made: list[dict[str, Any]], run: str | None
) -> None:
    seen = []
    for record in (tracked, told):
        with watched() as (recorder, ledger, budget):
            for call in made:
                if call["cached"] and (call["error"] or call["cost_usd"]):
                    continue  # what a cache answers is a success and costs nothing
                if run is None:
                    record(call, recorder)
                else:
                    with track_run(run, recorder=recorder):
                        record(call, recorder)
            ledger.flush()
            rows = ledger.summary("daily", by=("agent_name", "provider", "model")).as_dict()
            seen.append(
                (counted(recorder), rows["groups"], rows["total"], budget.status().spent_usd)
            )
    assert seen[0] == seen[1]
