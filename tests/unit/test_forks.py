"""One registry of what is done around a fork."""

from __future__ import annotations

import ast
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
from agentmetrics.recording.fork import ForkSafeLock
from tests.forks import Watcher, exit_code_of_child

PACKAGE = Path(agentmetrics.__file__).parent


def test_only_the_registry_asks_the_system_about_forks_and_exits() -> None:
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "register_at_fork" in path.read_text() or "import atexit" in path.read_text()
    }
    assert asking == {"recording/fork.py", "recording/exits.py"}


def test_no_property_holds_a_lock_while_its_value_is_made() -> None:
    # As functools' does before Python 3.12, unknown to the registry. operations/ records nothing.
    using = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "import cached_property" in path.read_text() and "operations" not in path.parts
    }
    assert using == set()


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


def test_a_lock_that_a_fork_has_waited_for_in_vain_holds_up_no_other_fork(monkeypatch) -> None:
    monkeypatch.setattr(fork, "FORK_WAITS_SECONDS", 0.05)
    lock, holding, stop = ForkSafeLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holding.set()
            stop.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holding.wait(10)
        assert exit_code_of_child(lambda: 0) == 0
        monkeypatch.setattr(fork, "FORK_WAITS_SECONDS", threading.TIMEOUT_MAX / 2)
        assert exit_code_of_child(lambda: 0) == 0
        assert not stop.is_set()
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join()


def test_a_kernel_that_wipes_no_page_does_without() -> None:
    program = """
        import ctypes, mmap, os
        def refuse(*arguments):
            raise OSError(22, "Invalid argument")
        mmap.mmap = refuse  # as madvise does before Linux 4.14
        from agentmetrics import MemoryRecorder, track_call
        from agentmetrics.recording.fork import ForkAware, watch_forks
        class Watcher(ForkAware):
            def after_fork_in_child(self):
                print("noticed", flush=True)
        watcher = Watcher()
        watch_forks(watcher)
        def call():
            with track_call("openai", "gpt-4o-mini", recorder=MemoryRecorder()) as call:
                call.record_usage(10, 5)
        call()
        for fork in (ctypes.PyDLL(None).fork, os.fork):
            child = fork()
            if not child:
                call()
                call()
                os._exit(0)
            os.waitpid(child, 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("noticed\nnoticed\n", "")


# Every lock

PLUGINS = PACKAGE.parent / "plugins"
LOCKS = {
    *("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"),
    *("Queue", "SimpleQueue", "LifoQueue", "PriorityQueue", "Event", "Future"),
    *("allocate_lock", "ThreadPoolExecutor"),
}
HELD_BY_NOBODY_AT_A_FORK = {
    ("recording/fork.py", "RLock"): "the registry makes them",
    ("recording/fork.py", "Lock"): "one for each process, by its number",
    ("backends/multiprocess/lock.py", "Lock"): "one for each process, by its number",
    ("recording/periodic.py", "Event"): "made with each thread, and so anew in a child",
    ("recording/watchdog.py", "Event"): "made with each thread, and so anew in a child",
    ("recording/deadline.py", "Event"): "of one request, for which its own thread alone waits",
    ("budget/notify/courier.py", "SimpleQueue"): "made with each thread",
    ("budget/notify/courier.py", "Event"): "made with each thread",
    ("budget/budgets/notices.py", "SimpleQueue"): "made with each thread",
    ("backends/delivery.py", "Future"): "of a route, of which a child makes another",
    ("agentmetrics_celery/queues.py", "Event"): "of one request; a child makes none",
    ("cli/demo/wire.py", "Event"): "a program of its own, which does not fork",
    ("cli/demo/serving.py", "Event"): "a program of its own, which does not fork",
    ("cli/demo/live/streams.py", "Event"): "a program of its own, which does not fork",
    ("cli/top/feeds.py", "SimpleQueue"): "a program of its own, which does not fork",
    ("cli/top/feeds.py", "Event"): "a program of its own, which does not fork",
    ("testing/conformance.py", "Event"): "of a test",
    ("testing/conformance.py", "Barrier"): "of a test",
}


def locks_made() -> set[tuple[str, str]]:
    """The modules that make a lock, or something with a lock inside, and its class."""
    found = set()
    for package in (PACKAGE, *PLUGINS.glob("*/agentmetrics_*")):
        for path in package.rglob("*.py"):
            relative = path.relative_to(package)
            name = str(relative if package == PACKAGE else package.name / relative)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = node.func.value if isinstance(node.func, ast.Subscript) else node.func
                    last = getattr(called, "attr", getattr(called, "id", ""))
                    if last in LOCKS:
                        found.add((name, last))
    return found


def test_every_lock_is_the_registry_s() -> None:
    assert locks_made() == HELD_BY_NOBODY_AT_A_FORK.keys()
