"""The thread that flushes: at its interval, until it is stopped or its target is gone."""

from __future__ import annotations

import gc
import threading

from agentmetrics.recording.periodic import PeriodicFlush
from tests.unit.test_store import in_a_child

SECONDS_TO_WAIT = 10.0


class Target:
    def __init__(self, stop_inside: bool = False) -> None:
        self.flushed = threading.Event()
        self.periodic: PeriodicFlush | None = None
        self.stop_inside = stop_inside

    def flush(self) -> None:
        if self.stop_inside:
            if self.periodic is None:
                return  # the next time
            self.periodic.stop()
        self.flushed.set()


def test_the_thread_flushes_again_and_again_until_stopped():
    target = Target()
    periodic = PeriodicFlush(target, 0.001)
    for _ in range(3):
        assert target.flushed.wait(SECONDS_TO_WAIT)
        target.flushed.clear()
    periodic.stop()
    assert not periodic._thread.is_alive()
    periodic.stop()


def test_the_thread_ends_by_itself_when_its_target_is_gone():
    target = Target()
    periodic = PeriodicFlush(target, 0.001)
    assert target.flushed.wait(SECONDS_TO_WAIT)
    del target
    gc.collect()
    periodic._thread.join(SECONDS_TO_WAIT)
    assert not periodic._thread.is_alive()


def test_the_thread_may_be_stopped_by_the_flush_itself():
    target = Target(stop_inside=True)
    target.periodic = PeriodicFlush(target, 0.001)
    assert target.flushed.wait(SECONDS_TO_WAIT)
    target.periodic._thread.join(SECONDS_TO_WAIT)
    assert not target.periodic._thread.is_alive()


def test_the_thread_never_keeps_a_program_from_ending():
    periodic = PeriodicFlush(Target(), 3600)
    assert periodic._thread.daemon
    periodic.stop()


def test_a_forked_child_has_a_thread_of_its_own():
    target = Target()
    periodic = PeriodicFlush(target, 0.001)

    def in_child():
        target.flushed.clear()
        return target.flushed.wait(SECONDS_TO_WAIT)

    try:
        assert in_a_child(in_child) == "True"
    finally:
        periodic.stop()


def test_a_forked_child_of_a_stopped_thread_has_none():
    target = Target()
    periodic = PeriodicFlush(target, 0.001)
    periodic.stop()

    def flushing() -> int:
        return sum(thread.name == "agentmetrics-flush" for thread in threading.enumerate())

    assert in_a_child(flushing) == "0"
