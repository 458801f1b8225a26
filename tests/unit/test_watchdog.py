"""Waits that somebody else ends when they take too long."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from agentmetrics.recording.watchdog import Watchdog

SECONDS = 30.0


def test_what_takes_too_long_is_cut() -> None:
    one, other = socket.socketpair()
    one.settimeout(SECONDS)
    with one, other, Watchdog().limit(0.05, lambda: one.shutdown(socket.SHUT_RDWR)):
        assert one.recv(1) == b""


def test_what_is_over_in_time_is_not_cut() -> None:
    watchdog, cut, later = Watchdog(), threading.Event(), threading.Event()
    with watchdog.limit(0.1, cut.set):
        pass
    with watchdog.limit(0.2, later.set):
        assert later.wait(SECONDS)
    assert not cut.is_set()


def test_a_cut_that_fails_keeps_nobody_from_the_next(caplog: pytest.LogCaptureFixture) -> None:
    watchdog, cut = Watchdog(), threading.Event()
    with watchdog.limit(0.0, lambda: 1 / 0), watchdog.limit(0.1, cut.set):  # type: ignore[arg-type]
        assert cut.wait(SECONDS)
    assert "ZeroDivisionError" in caplog.text


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "agentmetrics-watchdog"]


def test_there_is_a_thread_only_while_something_is_watched() -> None:
    before = set(threads())
    with Watchdog().limit(SECONDS, lambda: None):
        (mine,) = set(threads()) - before
    mine.join(SECONDS)
    assert not mine.is_alive()


def test_a_watchdog_that_is_kept_is_there_in_a_child_of_a_fork_too() -> None:
    watchdog = Watchdog()
    watchdog.keep()
    child = os.fork()
    if not child:
        cut = threading.Event()
        with watchdog.limit(0.05, cut.set):
            os._exit(0 if cut.wait(SECONDS) else 1)
    assert os.waitpid(child, 0)[1] == 0
