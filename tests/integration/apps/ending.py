"""A program that makes calls and ends in the way that it is asked for.

Run by ``python ending.py HOW DIRECTORY``. A call that has returned is acknowledged by a byte in
``DIRECTORY/acknowledged``; ``DIRECTORY/ready`` is there once the program waits for its signal.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

CALLS = 3
FOREVER = 60.0


@cache
def acknowledged(directory: Path) -> int:
    """Open once: a program that is busy with calls is to be found in the middle of one."""
    return os.open(directory / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def call(directory: Path, agent: str = "main") -> None:
    from agentmetrics import track_call  # children that are spawned have not imported it before

    with track_call("openai", "gpt-4o-mini", agent_name=agent) as tracked:
        tracked.record_usage(1000, 1000)
    os.write(acknowledged(directory), b".")


def calls(directory: Path, agent: str = "main") -> None:
    for _ in range(CALLS):
        call(directory, agent)


# Ends of one process


def sleeps(directory: Path) -> None:
    (directory / "ready").touch()
    time.sleep(FOREVER)


def is_in_a_call(directory: Path) -> None:
    from agentmetrics import track_call

    with track_call("openai", "gpt-4o-mini", agent_name="main"):
        sleeps(directory)


def is_busy_with_calls(directory: Path) -> None:
    (directory / "ready").touch()
    while True:
        call(directory)


def is_at_its_deepest(directory: Path) -> None:
    """As a program is that answers a RecursionError by going on."""
    call(directory)
    (directory / "ready").touch()
    while True:
        descend()


def descend() -> None:
    for _ in range(3):
        with suppress(RecursionError):
            descend()


def runs_asyncio(directory: Path) -> None:
    (directory / "ready").touch()
    asyncio.run(asyncio.sleep(FOREVER))


def runs_trio(directory: Path) -> None:
    import trio

    (directory / "ready").touch()
    trio.run(trio.sleep, FOREVER)


def has_a_handler(directory: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    sleeps(directory)


def had_a_handler(directory: Path) -> None:
    """It puts back what was there before its own and raises the signal again, as servers do."""
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    (directory / "ready").touch()
    told.wait(FOREVER)
    signal.signal(signal.SIGTERM, before)
    signal.raise_signal(signal.SIGTERM)


def ignores_it(directory: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    calls(directory)
    os.kill(os.getpid(), signal.SIGTERM)
    calls(directory)


def kills_itself(directory: Path) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    (directory / "ready").touch()  # never: the signal is not for later


def fails(directory: Path) -> None:
    raise SystemExit(3)


def exits(directory: Path) -> None:
    """At the end of ``main``, with a thread that makes calls after that."""
    threading.Timer(0.2, calls, [directory]).start()


def forks(directory: Path) -> None:
    """It is ended by a signal, as its child is, which has made its first call after the fork."""
    child = os.fork()
    if not child:
        calls(directory)
        os.kill(os.getpid(), signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    sleeps(directory)


# Children of multiprocessing


def waits(directory: Path, agent: str, told: Any) -> None:
    calls(directory, agent)
    told.put("ready")  # by a thread: the worst moment to be sent a signal
    time.sleep(FOREVER)


def with_a_thread(directory: Path, agent: str) -> None:
    threading.Timer(0.2, calls, [directory, agent]).start()
    calls(directory, agent)


def leaves(directory: Path, agent: str) -> None:
    calls(directory, agent)
    sys.exit(5)


def task(directory: Path, agent: str, _: int) -> None:
    call(directory, agent)


def _process(context: Any, target: Callable[..., None], *args: Any, code: int = 0) -> None:
    process = context.Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode == code, (target, process.exitcode)


def has_children(directory: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    _process(context, calls, directory, "process")
    _process(context, with_a_thread, directory, "thread")
    _process(context, leaves, directory, "leaves", code=5)
    told = context.Queue()
    process = context.Process(target=waits, args=(directory, "terminated", told), daemon=True)
    process.start()
    told.get()
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    with context.Pool(1) as pool:  # terminated at the end of the block
        pool.starmap(task, [(directory, "pool", n) for n in range(CALLS)])
    with context.Pool(1, maxtasksperchild=1) as pool:
        pool.starmap(task, [(directory, "recycled", n) for n in range(2)], chunksize=1)
        pool.close()
        pool.join()
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        list(executor.map(partial(task, directory, "executor"), range(CALLS)))


def main(how: str, directory: Path) -> None:
    if how.startswith("has_children:"):
        has_children(directory, how.partition(":")[2])
        return
    calls(directory)
    globals()[how](directory)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
