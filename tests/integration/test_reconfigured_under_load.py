"""One ledger in the place of another while threads make calls: each call is in one of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agentmetrics import MemoryRecorder, Recorder, configure, track_call
from agentmetrics.config.active import active, replaced

SWITCHES, THREADS = 30, 8
LOST = "agentmetrics_ledger_calls_lost_total"


@pytest.fixture(autouse=True)
def own_configuration() -> Iterator[None]:
    with replaced(MemoryRecorder()):
        yield


def always_the_same() -> Callable[[], Recorder]:
    recorder = MemoryRecorder()
    return lambda: recorder


def another_each_time() -> Callable[[], Recorder]:
    return MemoryRecorder


def in_database(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (calls,) = connection.execute("SELECT SUM(calls) FROM agentmetrics_ledger").fetchone()
    return calls or 0


@pytest.mark.parametrize("recorders", [always_the_same, another_each_time])
def test_every_call_is_in_one_ledger_while_one_is_replaced_by_another(
    recorders: Callable[[], Callable[[], Recorder]], tmp_path: Path
) -> None:
    paths = [tmp_path / "one.db", tmp_path / "two.db"]
    next_recorder, used = recorders(), list[Recorder]()

    def switch(number: int) -> None:
        used.append(next_recorder())
        configure(used[-1], ledger_url=f"sqlite:///{paths[number % 2]}")

    made, is_over = [0] * THREADS, threading.Event()

    def work(number: int) -> None:
        while not is_over.wait(0.001):
            with track_call("openai", "gpt-4o-mini", agent_name=f"agent-{number}") as call:
                call.record_usage(10, 5)
            made[number] += 1

    switch(0)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for number in range(1, SWITCHES):
        switch(number)
    is_over.set()
    for thread in threads:
        thread.join()
    assert active.in_use is not None
    assert active.in_use.ledger is not None
    active.in_use.ledger.close()
    lost = sum(recorder.value(LOST) for recorder in set(used))
    assert sum(map(in_database, paths)) + lost == sum(made)
    assert lost == 0
