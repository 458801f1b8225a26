"""A signal handler flushes, records and reads while the program does the same: nothing hangs."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.hostile import times
from tests.hostile.conftest import Proves

PROGRAM = """
    import signal, sys, threading, time
    from agentmetrics import (
        Budget, Ledger, LedgerUnavailable, MemoryRecorder, configure, get_ledger, get_recorder,
        record_call, track_call, track_run,
    )
    backend, url, seconds = sys.argv[1:]
    made = {"memory": {}, "statsd": {"statsd_port": 9}, "prometheus": {}}[backend]
    configure(backend=backend, ledger_url=url, budgets=[Budget("b", 1e6, action="block")], **made)
    calls = 0
    def everything():
        global calls
        with track_run("a", max_cost_usd=1e6), track_call("openai", "gpt-4o-mini") as call:
            call.record_usage(1, 1)
        record_call("openai", "gpt-4o-mini", input_tokens=1, output_tokens=1)
        get_recorder().flush()
        if backend == "memory":
            get_recorder().value("llm_calls_total")
        try:
            get_ledger().flush()
            get_ledger().summary()
        except LedgerUnavailable:
            pass
        calls += 1
    handled = 0
    def handler(*_):
        global handled
        everything()
        handled += 1
        signal.setitimer(signal.ITIMER_REAL, 0.005)  # none inside of another, without end
    signal.signal(signal.SIGALRM, handler)
    everything()  # what the first call imports and makes is there
    stop = threading.Event()
    def record():
        while not stop.is_set():
            record_call("openai", "gpt-4o-mini", agent_name="t", input_tokens=1, output_tokens=1)
    threads = [threading.Thread(target=record, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    deadline = time.monotonic() + float(seconds)
    while time.monotonic() < deadline:
        everything()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    stop.set()
    print(handled, calls)
"""


SECONDS = times(short=2, whole=20)


@pytest.mark.parametrize("backend", ["memory", "statsd", "prometheus"])
def test_a_storm_of_signals_hangs_nothing(backend: str, tmp_path: Path, proves: Proves) -> None:
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), backend]
    done = subprocess.run(
        [*program, f"sqlite:///{tmp_path}/x.db", str(SECONDS)],
        capture_output=True,
        text=True,
        timeout=120 + SECONDS,
    )
    assert not done.returncode, done.stderr
    handled, rounds = map(int, done.stdout.split())
    assert 0 < handled < rounds
    proves(
        f"{handled:,} signals that record, flush and read while the program does",
        f"0 hung, 0 raised; {rounds:,} rounds of two calls and a flush in all",
    )
