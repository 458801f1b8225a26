"""Programs that fork while threads of theirs import, configure and make their first calls.

    python forking_while_importing.py starting|busy [TIMES]

The child makes a call, imports, and ends. Prints how the children ended as JSON, with ``null`` for
one that hung.

``starting`` forks at any moment of a program's start: each time a program configures anew, in a
process that has imported our names and nothing else. ``busy`` forks one program again and again, by
turns with ``os.fork`` and in C, while its threads never stop making recorders, configuring, calling
new models and importing a module that takes its time.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agentmetrics import MemoryRecorder, configure, get_recorder, track_call
from agentmetrics.pipeline import pipeline_of

START_SECONDS = 0.3
"""About what configuring takes; a fork may come later."""
CHILD_SECONDS = 60.0
SLOW = "takes_its_time"


def exit_code(child: int, seconds: float) -> int | None:
    """Of a child; ``None``, and a kill, for one that hangs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def child_that(does: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """The number of a child that does this and ends, with 0 if nothing was raised."""
    child = fork()
    if child:
        return child
    code = 1
    try:
        does()
        code = 0
    finally:
        os._exit(code)


def call(model: str = "gpt-4o-mini") -> None:
    with track_call("openai", model, agent_name="a") as tracked:
        tracked.record_usage(10, 5)


def begin() -> None:
    configure(MemoryRecorder())
    call()


def starting(times: int) -> list[int | None]:
    def program(seconds: float) -> None:
        threading.Thread(target=begin, daemon=True).start()
        time.sleep(seconds)
        if exit_code(child_that(call), CHILD_SECONDS) != 0:
            os._exit(3)

    codes = []
    for number in range(times):
        started = child_that(partial(program, START_SECONDS * number / times))
        code = exit_code(started, 2 * CHILD_SECONDS)
        codes.append(None if code == 3 else code)
    return codes


def busy(times: int) -> list[int | None]:
    begin()
    modules = Path(tempfile.mkdtemp())
    sys.path.insert(0, str(modules))
    modules.joinpath(f"{SLOW}.py").write_text("import time\ntime.sleep(0.05)\n")
    numbers = iter(range(10**9))

    def import_slowly() -> None:
        sys.modules.pop(SLOW, None)
        __import__(SLOW)

    works: list[Callable[[], object]] = [
        lambda: pipeline_of(MemoryRecorder()),
        lambda: configure(MemoryRecorder()),
        lambda: call(f"gpt-{next(numbers)}"),
        import_slowly,
    ]

    def work(does: Callable[[], object]) -> None:
        while True:
            does()

    for each in works:
        threading.Thread(target=work, args=(each,), daemon=True).start()

    def in_child() -> None:
        call("gpt-in-a-child")
        __import__(SLOW)
        assert get_recorder().value("llm_calls_total", model="gpt-in-a-child") == 1

    def in_child_of_c() -> None:
        ctypes.pythonapi.PyOS_AfterFork_Child()  # which CPython wants of whoever forks
        in_child()

    codes = []
    for number in range(times):
        time.sleep(0.01)
        if number % 2:
            child = child_that(in_child)
        else:
            usual = sys.getswitchinterval()
            sys.setswitchinterval(1.0)  # no thread asks for Python's lock between fork and hook
            child = child_that(in_child_of_c, ctypes.PyDLL(None).fork)
            sys.setswitchinterval(usual)
        codes.append(exit_code(child, CHILD_SECONDS))
    return codes


if __name__ == "__main__":
    kind, times = sys.argv[1], int(sys.argv[2])
    print(json.dumps({"starting": starting, "busy": busy}[kind](times)), flush=True)
    os._exit(0)
