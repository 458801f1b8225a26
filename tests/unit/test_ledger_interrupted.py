"""A signal handler in the middle of an addition of the ledger's, while another thread wants one.

The handler does all that it may. The other thread holds what the handler wants, and waits for the
thread that the handler has interrupted.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = """
    import signal, sys, threading
    from datetime import datetime, timezone
    from agentmetrics import (
        Budget, Ledger, LedgerUnavailable, MemoryRecorder, configure, get_ledger, record_call,
    )
    from agentmetrics.budget.budgets import state
    from agentmetrics.budget.ledger import sums, writer
    from agentmetrics.budget.ledger.sums import Sums
    from agentmetrics.budget.ledger.tally import Tally

    url, what = sys.argv[1:]
    writer.TURN_SECONDS = sums.WRITE_WAITS_SECONDS = 1000.0  # as good as for ever
    recorder = MemoryRecorder()
    budget = Budget("b", 1e6, period="daily", action="block")
    configure(recorder, ledger_url=url, ledger_flush_interval=1000, budgets=[budget])
    ledger = get_ledger()

    def call(agent):
        record_call("openai", "gpt-4o-mini", agent_name=agent, input_tokens=1000, output_tokens=0)

    def at_the_turn_of_a_period():
        with state.lock:
            tomorrow = state.standings[budget]()._at(datetime.now(timezone.utc).timestamp() + 86400)
            assert tomorrow.followed is not None

    def scrape():
        recorder.value("agentmetrics_ledger_pending_rows")

    def flush():
        try:
            ledger.flush()
        except LedgerUnavailable:
            pass

    works = {"turn": at_the_turn_of_a_period, "scrape": scrape, "flush": flush}
    waits, is_waiting = threading.Event(), False

    def take(turn, seconds, work, take=sums.Turn.take):
        if threading.current_thread() is other:
            waits.set()
        return take(turn, seconds, work)

    def add(tally, key, amounts, added=Tally.add):
        global is_waiting
        if threading.current_thread() is threading.main_thread() and not is_waiting:
            is_waiting = True
            other.start()
            assert waits.wait(60)
            signal.raise_signal(signal.SIGUSR1)
        added(tally, key, amounts)

    def handler(*_):
        call("handler")
        for work in works.values():
            work()

    other = threading.Thread(target=works[what], daemon=True)
    ledger.record_external(0.01, provider="openai", model="gpt-4o-mini")  # not added up yet
    signal.signal(signal.SIGUSR1, handler)
    sums.Turn.take, Tally.add = take, add
    ledger.pending_rows()
    assert is_waiting
    other.join()
    ledger.close()
    with Ledger(url) as opened:
        print(opened.summary().total.calls)
"""


@pytest.mark.parametrize("what", ["turn", "scrape", "flush"])
def test_a_handler_in_an_addition_and_a_thread_that_waits_for_it_both_get_done(
    what: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), f"sqlite:///{tmp_path}/x.db", what],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "2\n", done.stderr
