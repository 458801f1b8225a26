"""A program that forks beside busy threads: ``python -m …forking KIND TIMES THREADS LEDGER_URL``.

Each child makes a call and ends. Prints how the children ended as JSON, ``null`` for one that hung,
and how many calls the threads have made.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count, cycle
from pathlib import Path

from agentmetrics import (
    LedgerUnavailable,
    MemoryRecorder,
    configure,
    get_ledger,
    get_recorder,
    track_call,
)
from agentmetrics.pipeline import pipeline_of

CHILD_SECONDS = 60.0
CALLING = 4
MODELS = 500
"""Fewer than label sets are kept apart, as what is counted is told by agent."""
SLOW = "takes_its_time"

made = [0] * (CALLING + 1)
is_over = threading.Event()


def call(agent: str, model: str = "gpt-4o-mini") -> None:
    with track_call("openai", model, agent_name=agent) as tracked:
        tracked.record_usage(10, 5)


def calls(number: int) -> None:
    call("parent")
    made[number] += 1


def calls_of_new_models(numbers: count[int] = count()) -> None:  # noqa: B008
    call("parent", f"model-{next(numbers) % MODELS}")
    made[CALLING] += 1


def make_recorders() -> None:
    pipeline_of(MemoryRecorder())


def write() -> None:
    ledger = get_ledger()
    assert ledger is not None
    with suppress(LedgerUnavailable):
        ledger.flush()
    get_recorder().flush()


def import_slowly() -> None:
    sys.modules.pop(SLOW, None)
    __import__(SLOW)


def busy(works: Sequence[Callable[[], object]]) -> None:
    for does in cycle(works):
        if is_over.wait(0.001):
            break
        does()


def in_child() -> None:
    call("child")


def forked(fork: Callable[[], int], begin: Callable[[], object]) -> int:
    child = fork()
    if child:
        return child
    code = 1
    try:
        begin()
        in_child()
        code = 0
    finally:
        os._exit(code)


def fork() -> int:
    return forked(os.fork, lambda: None)


def fork_in_c() -> int:
    usual = sys.getswitchinterval()
    # No thread asks for Python's lock between fork and hook, not even one that waits already.
    sys.setswitchinterval(100.0)
    time.sleep(4 * usual)
    try:
        # CPython wants the hook of whoever forks.
        return forked(ctypes.PyDLL(None).fork, ctypes.pythonapi.PyOS_AfterFork_Child)
    finally:
        sys.setswitchinterval(usual)


def exit_code(child: int) -> int | None:
    deadline = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def process() -> int | None:
    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join(CHILD_SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
        return None
    return child.exitcode


KINDS: dict[str, Callable[[], int | None]] = {
    "os.fork": lambda: exit_code(fork()),
    "a fork in C": lambda: exit_code(fork_in_c()),
    "multiprocessing": process,
}


def main(kind: str, times: int, many: int, url: str) -> None:
    configure(backend="prometheus", ledger_url=url)
    modules = Path(tempfile.mkdtemp())
    sys.path.insert(0, str(modules))
    modules.joinpath(f"{SLOW}.py").write_text("import time\ntime.sleep(0.02)\n")
    works: list[Callable[[], object]] = [
        *(lambda number=number: calls(number) for number in range(CALLING)),
        *(calls_of_new_models, make_recorders, write, import_slowly),
    ]
    threads = [threading.Thread(target=busy, args=(works[each::many],)) for each in range(many)]
    for thread in threads:
        thread.start()
    codes = [KINDS[kind]() for _ in range(times)]
    is_over.set()
    for thread in threads:
        thread.join()
    print(json.dumps([codes, sum(made)]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
