"""Child processes of Python's own: ``python -m tests.ends.programs.children METHOD WAY``."""

from __future__ import annotations

import importlib
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.ends.programs.calls import call, calls, hold

CHILDREN, CALLS = 2, 6


def one(number: int) -> None:
    call()


def three_and_wait() -> None:
    calls(CALLS // CHILDREN)
    time.sleep(60)


def process(context: Any) -> None:
    made = [context.Process(target=calls, args=(CALLS // CHILDREN,)) for _ in range(CHILDREN)]
    for child in made:
        child.start()
    for child in made:
        child.join()


def pool(context: Any) -> None:
    workers = context.Pool(CHILDREN)
    workers.map(one, range(CALLS), chunksize=1)
    workers.close()
    workers.join()


def pool_terminate(context: Any) -> None:
    """As ``with Pool() as pool`` does at its end."""
    workers = context.Pool(CHILDREN)
    workers.map(one, range(CALLS), chunksize=1)
    workers.terminate()
    workers.join()


def pool_recycled(context: Any) -> None:
    workers = context.Pool(CHILDREN, maxtasksperchild=1)
    workers.map(one, range(CALLS), chunksize=1)
    workers.close()
    workers.join()


def executor(context: Any) -> None:
    with ProcessPoolExecutor(CHILDREN, mp_context=context) as workers:
        list(workers.map(one, range(CALLS)))


WAYS = {
    "Process": process,
    "Pool": pool,
    "Pool.terminate": pool_terminate,
    "maxtasksperchild": pool_recycled,
    "ProcessPoolExecutor": executor,
}


if __name__ == "__main__":
    package, method, way = sys.argv[1:]
    if method == "fork":  # what the parent has begun is the parent's
        hold()
        call()
    WAYS[way](importlib.import_module(package).get_context(method))
