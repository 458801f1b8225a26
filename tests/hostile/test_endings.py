"""However a call, a run, a tool or a stream ends, it has ended once, and nothing is left of it."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import MethodType

import psutil
import pytest

from agentmetrics import Ledger, MemoryRecorder, MetricsCallbackHandler
from agentmetrics.pipeline import pipeline_of
from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.endings import AT_ONCE, ENDINGS, Ending, Here
from tests.unit.scripted import assert_settled, by, errors

TIMES = times(short=AT_ONCE, whole=10_000)
GROWN_MB = 10
"""More than the allocator keeps to itself, and less than what 10 000 calls would be."""

pytestmark = pytest.mark.usefixtures("only_our_objects")


def alive() -> int:
    """How many objects there are, without the methods that coverage keeps of each thread."""
    return sum(
        type(each) is not MethodType or "coverage" not in type(each.__self__).__module__
        for each in gc.get_objects()
    )


def measured(end: Ending, here: Here, ledger: Ledger, number: int) -> tuple[int, float]:
    """How many objects there are afterwards, and megabytes, that have not been before."""
    objects, resident = alive(), psutil.Process().memory_info().rss
    end.end(here, number)
    gc.collect()
    ledger.flush()
    pipeline_of(here.recorder).table.end_abandoned()
    gc.collect()
    grown = psutil.Process().memory_info().rss - resident
    return alive() - objects, grown / 2**20


@pytest.mark.parametrize("way", ENDINGS)
def test_nothing_is_left_of(
    way: str, recorder: MemoryRecorder, tmp_path: Path, proves: Proves
) -> None:
    end = ENDINGS[way]
    config = {"callbacks": [MetricsCallbackHandler(recorder)], "metadata": {"agent_name": "tester"}}
    here = Here(recorder, config)
    with Ledger(f"sqlite:///{tmp_path}/x.db", flush_interval_seconds=1000) as ledger:
        ledger.attach(recorder)
        for _ in range(2):  # for what is made once, by the second flush at the latest
            measured(end, here, ledger, AT_ONCE)
        threads = threading.active_count()
        objects, megabytes = measured(end, here, ledger, TIMES)
        assert threading.active_count() == threads
        in_ledger = ledger.summary().total.calls
    number = 2 * AT_ONCE + TIMES
    for name, statuses in (
        ("llm_calls_total", end.calls),
        ("agent_runs_total", end.runs),
        ("tool_executions_total", end.tools),
    ):
        counted = by(recorder, name, "status")
        assert counted == {status: each * number for status, each in statuses.items()}
    assert in_ledger == recorder.value("llm_calls_total") == number
    assert_settled(recorder)
    assert not pipeline_of(recorder).table._open
    assert errors(recorder) == {}
    assert objects < AT_ONCE  # not one of each
    assert megabytes < GROWN_MB
    proves(
        f"{TIMES:,} times",
        f"0 open, {in_ledger:,} of {number:,} calls in metrics and ledger; "
        f"{max(0, objects)} objects and {megabytes:.1f} MB more",
    )
