"""One registry of what is done around a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import agentmetrics
from agentmetrics import MemoryRecorder, track_call
from agentmetrics.pipeline import pipeline_of
from agentmetrics.recording import fork
from agentmetrics.recording.fork import ForkAware, ForkSafeLock, watch_forks

PACKAGE = Path(agentmetrics.__file__).parent


def test_only_the_registry_asks_the_system_about_forks_and_exits() -> None:
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "register_at_fork" in path.read_text() or "import atexit" in path.read_text()
    }
    assert asking == {"recording/fork.py", "recording/exits.py"}


def test_a_platform_without_fork_does_without() -> None:
    program = """
        import os
        del os.register_at_fork, os.fork  # as on Windows
        import agentmetrics
        for name in agentmetrics.__all__:
            getattr(agentmetrics, name)
        with agentmetrics.track_call("openai", "gpt-4o-mini") as call:
            call.record_usage(10, 5)
        print(agentmetrics.get_recorder().value("llm_calls_total"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("1.0\n", "")


def test_a_child_reports_its_own_memory() -> None:
    recorder = MemoryRecorder()

    def resident() -> float:
        with track_call("openai", "gpt-4o-mini", recorder=recorder) as call:
            call.record_usage(10, 5)
        return recorder.value("llm_memory_rss_bytes")

    resident()

    def in_child() -> int:
        memory = pipeline_of(recorder).llm.memory
        memory.next_read = 0.0
        before = resident()  # less than its parent's, of whose pages it has not touched all
        memory.next_read = 0.0
        filled = b"x" * 100_000_000
        return 0 if resident() > before + len(filled) / 2 else 1

    assert exit_code_of_child(in_child) == 0


def exit_code_of_child(work) -> int:
    child = os.fork()
    if not child:
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Watcher(ForkAware):
    def __init__(self, name: str, log: list[str], order: int) -> None:
        self.name, self.log = name, log
        watch_forks(self, order)

    def before_fork(self) -> None:
        self.log.append(f"before {self.name}")

    def after_fork_in_parent(self) -> None:
        self.log.append(f"after {self.name}")

    def after_fork_in_child(self) -> None:
        self.log.append(f"child {self.name}")


def test_locks_are_taken_from_the_outermost_in_and_given_back_from_the_innermost_out() -> None:
    log: list[str] = []
    kept = [Watcher(n, log, o) for n, o in (("store", fork.STORES), ("ledger", fork.LEDGERS))]

    def in_child() -> int:
        return 0 if log[2:] == ["child store", "child ledger"] else 1

    assert exit_code_of_child(in_child) == 0
    assert log == ["before ledger", "before store", "after store", "after ledger"]
    assert len(kept) == 2


def test_what_is_gone_is_asked_no_more() -> None:
    log: list[str] = []
    watcher = Watcher("gone", log, fork.LEDGERS)
    del watcher
    assert exit_code_of_child(lambda: 0) == 0
    assert log == []


@pytest.mark.parametrize("held_by", ["nobody", "a thread", "the one that forks"])
def test_a_fork_safe_lock_is_free_in_the_child(held_by: str, monkeypatch) -> None:
    monkeypatch.setattr(fork, "FORK_WAITS_SECONDS", 0.05)
    lock, holding, stop = ForkSafeLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holding.set()
            stop.wait(30)

    def in_child() -> int:
        taken = threading.Thread(target=lock.__enter__, daemon=True)
        if held_by == "the one that forks":
            lock.__exit__()
        taken.start()
        taken.join(5)
        return int(taken.is_alive())

    thread = threading.Thread(target=hold)
    if held_by == "a thread":
        thread.start()
        assert holding.wait(10)
    if held_by == "the one that forks":
        lock.__enter__()
    try:
        assert exit_code_of_child(in_child) == 0
    finally:
        stop.set()
        if held_by == "a thread":
            thread.join()
    with lock:  # and the parent's is as it was
        pass
