"""A fork that no hook of Python's is told of is noticed by what the child does first.

Each in a process of its own, whose only threads are those of the test: see ``fork_in_c``.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import pytest

import agentmetrics
from agentmetrics import MemoryRecorder, Metric, track_call
from agentmetrics.pipeline import pipeline_of
from agentmetrics.recording import fork
from agentmetrics.recording.exits import close_all
from agentmetrics.recording.fork import NOTICED, ForkAware, ForkSafeLock, watch_forks
from tests.forks import Watcher, exit_code_of_child, fork_in_c


def holds_in_a_process_of_its_own(test: Callable[..., None], *arguments: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=test, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == 0


def counted(recorder: MemoryRecorder) -> float:
    with track_call("openai", "gpt-4o-mini", recorder=recorder) as call:
        call.record_usage(10, 5)
    return recorder.value("llm_calls_total")


def in_one_step(recorder: MemoryRecorder) -> None:
    with recorder.update():
        recorder.counter(ERRORS).labels().inc()


ERRORS = Metric("errors_of_this_test_total", "counter", "Errors.")
FIRST_THINGS: dict[str, Callable[[MemoryRecorder], object]] = {
    "a call": counted,
    "a call recorded afterwards": lambda recorder: agentmetrics.record_call(
        "openai", "gpt-4o-mini", recorder=recorder
    ),
    "an update of a series": lambda recorder: recorder.counter(ERRORS).labels().inc(),
    "a step of several updates": in_one_step,
    "a reading": lambda recorder: recorder.value("llm_calls_total"),
    "a reset": lambda recorder: recorder.reset(),
    "a new metric": lambda recorder: recorder.declare(Metric("b_total", "counter", "B.")),
    "the end": lambda recorder: close_all(),
    "a lock": lambda recorder: ForkSafeLock().__enter__(),
}


@pytest.mark.parametrize("thread", ["the thread that forked", "a new thread"])
@pytest.mark.parametrize("first", FIRST_THINGS)
def test_the_first_thing_that_a_child_does_frees_the_locks(first: str, thread: str) -> None:
    holds_in_a_process_of_its_own(_frees_the_locks, first, thread)


def _frees_the_locks(first: str, thread: str) -> None:
    recorder = MemoryRecorder()
    counted(recorder)
    recorder.counter(ERRORS).labels().inc()
    holding, stop = threading.Event(), threading.Event()

    def hold() -> None:
        with recorder.store.lock, pipeline_of(recorder).table._ending:
            holding.set()
            stop.wait(120)

    def in_child() -> int:
        if thread == "a new thread":  # with the number of the one that holds the locks
            other = threading.Thread(target=FIRST_THINGS[first], args=(recorder,))
            other.start()
            other.join()
        else:
            FIRST_THINGS[first](recorder)
        return 0 if NOTICED[0] and counted(recorder) else 2

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(10)
    try:
        assert exit_code_of_child(in_child, fork_in_c) == 0
    finally:
        stop.set()
        holder.join()


FORKS = {"in Python": os.fork, "in C": fork_in_c}


@pytest.mark.parametrize("second", FORKS)
@pytest.mark.parametrize("first", FORKS)
def test_a_child_of_a_child_is_noticed_too(first: str, second: str) -> None:
    holds_in_a_process_of_its_own(_both_are_noticed, first, second)


def _both_are_noticed(first: str, second: str) -> None:
    log: list[str] = []
    watcher = Watcher("it", log, fork.LEDGERS)

    def noticed() -> int:
        fork.notice_fork()
        fork.notice_fork()
        return log.count(f"child {watcher.name}")

    def in_child() -> int:
        return 0 if noticed() == 1 and exit_code_of_child(noticed, FORKS[second]) == 2 else 1

    assert exit_code_of_child(in_child, FORKS[first]) == 0


def test_threads_that_come_together_wait_until_one_has_done_it() -> None:
    holds_in_a_process_of_its_own(_one_does_it)


def _one_does_it() -> None:
    done: list[bool] = []

    class Slow(ForkAware):
        def after_fork_in_child(self) -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, ())  # a system call: others may run
            done.append(True)

    slow = Slow()
    watch_forks(slow)

    def in_child() -> int:
        seen: list[int] = []

        def come() -> None:
            fork.notice_fork()
            seen.append(len(done))

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 0 if seen == [1] * 8 else 1

    assert exit_code_of_child(in_child, fork_in_c) == 0


@pytest.mark.parametrize("fork_now", FORKS)
def test_one_that_fails_in_the_child_keeps_no_other_from_it(fork_now: str) -> None:
    holds_in_a_process_of_its_own(_the_others_are_told, fork_now)


def _the_others_are_told(fork_now: str) -> None:
    log: list[str] = []

    class Failing(ForkAware):
        def after_fork_in_child(self) -> None:
            raise OSError("no")

    kept = Watcher("older", log, fork.LEDGERS), Failing(), Watcher("younger", log, fork.LEDGERS)
    watch_forks(kept[1])

    def in_child() -> int:
        fork.notice_fork()
        expected = ["child younger", "child older"]
        return 0 if [line for line in log if line in expected] == expected else 1

    assert exit_code_of_child(in_child, FORKS[fork_now]) == 0


@pytest.mark.parametrize("fork_now", FORKS)
def test_a_lock_that_the_thread_that_forks_is_inside_of_stays_its_own(fork_now: str) -> None:
    holds_in_a_process_of_its_own(_stays_its_own, fork_now)


def _stays_its_own(fork_now: str) -> None:
    recorder = MemoryRecorder()

    def in_child() -> int:
        fork.notice_fork()
        recorder.store.lock.release()  # which raises where it is not this thread's
        with pytest.raises(RuntimeError):
            recorder.store.lock.release()
        return 0

    with recorder.update():
        assert exit_code_of_child(in_child, FORKS[fork_now]) == 0


def test_a_hook_that_runs_in_the_child_alone_is_enough() -> None:
    """As with uWSGI's ``py-call-osafterfork``."""
    holds_in_a_process_of_its_own(_a_hook_of_the_child_is_enough)


def _a_hook_of_the_child_is_enough() -> None:
    recorder = MemoryRecorder()
    counted(recorder)

    def in_child() -> int:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0 if NOTICED[0] and counted(recorder) == 2 else 1

    assert exit_code_of_child(in_child, fork_in_c) == 0
