"""A program without a server: ``python -m tests.ends.programs.plain END``."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from tests.ends.programs.calls import call, calls, hold
from tests.forks import fork_in_c

CALLS = 5


def raises() -> None:
    raise RuntimeError("a program that fails")


def goes_on_in_a_thread() -> None:
    """The last thread ends the program, and it is not the main one."""
    threading.Thread(target=calls, args=(CALLS,)).start()


def goes_on_in_a_daemon_thread() -> None:
    """Which makes calls until there is no process any more."""

    def go_on() -> None:
        while True:
            call()
            time.sleep(0.0005)

    threading.Thread(target=go_on, daemon=True).start()
    time.sleep(0.05)


def waits() -> None:
    """Until a signal comes, with the handlers that Python has by itself."""
    print("ready", flush=True)
    time.sleep(60)


def has_a_handler_that_exits() -> None:
    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    waits()


def has_a_handler_that_is_a_flag() -> None:
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    print("ready", flush=True)
    asked.wait(60)
    calls(CALLS)  # what a program does to end in order


def has_a_handler_that_raises_the_signal_again() -> None:
    """As uvicorn does, once its shutdown is over."""
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    print("ready", flush=True)
    asked.wait(60)
    signal.signal(signal.SIGTERM, before)
    signal.raise_signal(signal.SIGTERM)


def becomes_another_program() -> None:
    os.execv(sys.executable, [sys.executable, "-c", ""])


def accesses_what_is_not_there() -> None:
    ctypes.string_at(0)


def _in_a_child(fork: Callable[[], int]) -> None:
    child = fork()
    if not child:
        calls(CALLS)
        sys.exit(0)
    os.waitpid(child, 0)
    call()


def forks() -> None:
    _in_a_child(os.fork)


def forks_in_c() -> None:
    """Without any of Python's hooks around it."""
    _in_a_child(fork_in_c)


def forks_in_c_and_the_child_is_gone_at_once() -> None:
    child = fork_in_c()
    if not child:
        calls(CALLS)
        os._exit(0)
    os.waitpid(child, 0)


ENDS: dict[str, Callable[[], None]] = {
    "end": lambda: None,
    "raise": raises,
    "thread": goes_on_in_a_thread,
    "daemon-thread": goes_on_in_a_daemon_thread,
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(0),
    "os.abort": os.abort,
    "segfault": accesses_what_is_not_there,
    "execv": becomes_another_program,
    "wait": waits,
    "handler-exits": has_a_handler_that_exits,
    "handler-flag": has_a_handler_that_is_a_flag,
    "handler-again": has_a_handler_that_raises_the_signal_again,
    "fork": forks,
    "fork-in-c": forks_in_c,
    "fork-in-c-_exit": forks_in_c_and_the_child_is_gone_at_once,
}


if __name__ == "__main__":
    hold()
    calls(CALLS)
    ENDS[sys.argv[1]]()
