"""Work that is waited for only so long."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

from agentmetrics.recording.deadline import InTime


def test_work_that_is_over_in_time_is_done_once_it_is_waited_for() -> None:
    done: list[str] = []
    work = InTime(lambda: done.append(threading.current_thread().name))
    assert done == []
    assert work.run(10)
    assert done == ["agentmetrics-in-time"]


def test_work_that_raises_raises_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise KeyError("it")

    with pytest.raises(KeyError, match="it"):
        InTime(fail).run(10)


def test_what_failed_is_let_go_of_when_its_error_is() -> None:
    class Connection:
        pass

    opened: list[weakref.ref[Connection]] = []

    def fail() -> None:
        connection = Connection()
        opened.append(weakref.ref(connection))
        raise OSError

    gc.disable()
    try:
        with pytest.raises(OSError):
            InTime(fail).run(10)
        assert [each() for each in opened] == [None]
    finally:
        gc.enable()


def test_work_that_takes_longer_is_not_waited_for() -> None:
    go_on = threading.Event()
    began = time.monotonic()

    def wait() -> None:
        go_on.wait(30)

    assert not InTime(wait).run(0.05)
    assert time.monotonic() - began < 10
    go_on.set()


def test_work_that_is_cancelled_is_not_done_and_its_thread_ends() -> None:
    done: list[str] = []
    before = set(threading.enumerate())
    work = InTime(lambda: done.append("done"))
    (thread,) = set(threading.enumerate()) - before
    work.cancel()
    thread.join(10)
    assert not thread.is_alive()
    assert done == []


def test_work_that_begins_while_the_program_ends_is_done_by_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", start)
    done: list[str] = []
    assert InTime(lambda: done.append(threading.current_thread().name)).run(0.05)
    assert done == ["MainThread"]
