"""A process that makes calls until somebody ends it: ``worker.py KIND SLOT DIRECTORY SEED``.

Two threads at a time make them; ``KIND`` is how its children come and go, if it has any.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from agentmetrics import track_call
from tests.forks import fork_in_c
from tests.soak.account import Account

THREADS = 2
PAUSE_SECONDS = 0.004
CALLS_OF_A_CHILD = 40


class Caller:
    """Makes the calls of one process, under a name that no other process has."""

    def __init__(self, slot: str, directory: Path) -> None:
        self._agent = f"{slot}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._account = Account(directory, self._agent)
        self._numbers = count(1)

    def call(self, chance: random.Random) -> None:
        number = next(self._numbers)
        tokens = chance.randrange(1, 5000), chance.randrange(1, 2000)
        self._account.begun(number, *tokens)
        with track_call("openai", "gpt-4o-mini", agent_name=self._agent) as call:
            call.record_usage(*tokens)
        self._account.ended(number, *tokens)

    def calls(self, seed: int, many: int | None = None) -> None:
        """So many of them, at a pace; for ever if it is not said."""
        chance = random.Random(seed)
        for made in count():
            if made == many:
                return
            self.call(chance)
            time.sleep(chance.random() * 2 * PAUSE_SECONDS)

    def in_threads(self, seed: int) -> None:
        for number in range(1, THREADS):
            threading.Thread(target=self.calls, args=(seed + number,), daemon=True).start()
        self.calls(seed)


def child(slot: str, directory: Path, seed: int) -> None:
    Caller(slot, directory).calls(seed, CALLS_OF_A_CHILD)


def alone(slot: str, directory: Path, seed: int) -> None:
    """Without children, and without a handler for a signal."""
    Caller(slot, directory).in_threads(seed)


def with_a_handler(slot: str, directory: Path, seed: int) -> None:
    """One that raises, in the middle of whatever the program does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    alone(slot, directory, seed)


def pool(slot: str, directory: Path, seed: int) -> None:
    """A pool that replaces its children after every task."""
    with get_context("fork").Pool(2, maxtasksperchild=1) as workers:
        tasks = ((slot, directory, seed + number) for number in count(10))
        for _ in workers.imap_unordered(_child_of, tasks):
            pass


def _child_of(task: tuple[str, Path, int]) -> None:
    child(*task)


def executors(slot: str, directory: Path, seed: int) -> None:
    """One executor after the other, whose children begin from nothing."""
    for number in count(10, 2):
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
            for at in range(2):
                workers.submit(child, slot, directory, seed + number + at)


def forks_in_c(slot: str, directory: Path, seed: int) -> None:
    """Children of which Python is not told, beside a thread that goes on; they end by ``_exit``."""
    parent = Caller(slot, directory)
    for number in count(10):
        parent.calls(seed + number, CALLS_OF_A_CHILD)
        forked = fork_in_c()
        if not forked:
            child(slot, directory, seed + 1000 + number)
            os._exit(0)
        parent.calls(seed + number, CALLS_OF_A_CHILD // 2)
        os.waitpid(forked, 0)


KINDS: dict[str, Callable[[str, Path, int], None]] = {
    "alone": alone,
    "handler": with_a_handler,
    "pool": pool,
    "executors": executors,
    "forks-in-c": forks_in_c,
}


if __name__ == "__main__":
    kind, slot, directory, seed = sys.argv[1:]
    KINDS[kind](slot, Path(directory), int(seed))
