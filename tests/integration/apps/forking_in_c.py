"""A program that forks in C, as uWSGI does: no hook of Python's runs in the child.

    python forking_in_c.py cold | warm | busy

What the child has of its own, it prints as JSON; all else is for a test to read where it went. The
program, with its child, stays until its standard input ends, and then dies without an end.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil

from agentmetrics import MemoryRecorder, get_ledger, get_recorder, track_call
from agentmetrics.plugin import close_all

LIBC = ctypes.PyDLL(None)  # which keeps the interpreter's lock meanwhile: the child has it, too
CALLS = {"parent": 5, "child": 7}
THREADS = 8
CHILDREN = 12
CALLS_OF_A_CHILD = 3

beside = MemoryRecorder()


def call(agent: str) -> None:
    for recorder in (get_recorder(), beside):
        with track_call("openai", "gpt-4o-mini", agent_name=agent, recorder=recorder) as tracked:
            tracked.record_usage(input_tokens=1000, output_tokens=1000)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def stay() -> None:
    sys.stdin.read()
    os._exit(0)


def in_child() -> None:
    for _ in range(CALLS["child"]):
        call("child")
    say(
        in_memory={agent: beside.value("llm_calls_total", agent_name=agent) for agent in CALLS},
        in_flight=beside.value("llm_active_calls"),
        threads=psutil.Process().num_threads(),  # Python's own list has those of the parent, too
    )
    stay()


def family(is_warm: bool) -> None:
    get_recorder()
    with ExitStack() as open_calls:
        if is_warm:
            for _ in range(CALLS["parent"]):
                call("parent")
            for recorder in (get_recorder(), beside):
                open_calls.enter_context(
                    track_call("openai", "gpt-4o-mini", agent_name="parent", recorder=recorder)
                )
        let_threads_wait()
        # Nor does one ask for it meanwhile, for which a child would wait that does not have it.
        sys.setswitchinterval(60)
        child = LIBC.fork()
        sys.setswitchinterval(0.005)
        if not child:
            in_child()
        stay()


def let_threads_wait() -> None:
    """Until no thread wants Python's own lock, which is of no use in a child then; see ``busy``."""
    me = threading.get_ident()
    while any(
        frame.f_code.co_name not in ("wait", "_sender")  # the latter waits to hear of SIGTERM
        for thread, frame in sys._current_frames().items()
        if thread != me
    ):
        time.sleep(0.01)


def busy() -> None:
    """Eight threads record while children are made that record, deliver all of it and end.

    Python's own lock, for which threads of the parent wait, is of no use in such a child until it
    is made anew, which CPython wants of whoever forks: uWSGI does so where it is told to. Of what
    is done before a fork, nothing is done here either.
    """
    is_over = threading.Event()
    made = [0] * THREADS

    def work(number: int) -> None:
        while not is_over.is_set():
            call("parent")
            made[number] += 1

    def deliver() -> None:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        for _ in range(CALLS_OF_A_CHILD):
            call("child")
        close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while not all(made):
        time.sleep(0.001)
    sys.setswitchinterval(30.0)  # no thread asks for Python's lock between a fork and the hook
    codes = [exit_code(child_that(deliver), seconds=60) for _ in range(CHILDREN)]
    is_over.set()
    for thread in threads:
        thread.join()
    get_ledger().flush()
    get_recorder().flush()
    say(parent=sum(made), codes=codes)
    stay()


def child_that(does: Callable[[], None]) -> int:
    """The number of a child that does this and ends: with 0 if nothing was raised."""
    child = int(LIBC.fork())
    if child:
        return child
    code = 1
    try:
        does()
        code = 0
    finally:
        os._exit(code)


def exit_code(child: int, seconds: float) -> int | None:
    """Of a child; ``None``, and a kill, for one that hangs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    {
        "cold": lambda: family(is_warm=False),
        "warm": lambda: family(is_warm=True),
        "busy": busy,
    }[sys.argv[1]]()
