"""A pool whose children make one call each: how many its budget let through.

python one_call_each.py URL START_METHOD CHILDREN_AT_ONCE TASKS
"""

from __future__ import annotations

import multiprocessing
import sys
from functools import partial

from agentmetrics import Budget, BudgetExceeded, MemoryRecorder, configure, track_call

LIMIT_USD = 0.0001
TOKENS = 400  # of gpt-4o-mini: 0.00006 USD, so that the second call crosses the limit


def begin(url: str) -> None:
    budget = Budget("team", LIMIT_USD, action="block")
    configure(MemoryRecorder(), ledger_url=url, budgets=[budget])


def call(url: str, method: str, _: int) -> bool:
    if method != "fork":
        begin(url)
    try:
        with track_call("openai", "gpt-4o-mini") as made:
            made.record_usage(TOKENS, 0)
    except BudgetExceeded:
        return False
    return True


if __name__ == "__main__":
    url, method, at_once, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    begin(url)
    context = multiprocessing.get_context(method)
    with context.Pool(at_once, maxtasksperchild=1) as pool:
        print(sum(pool.map(partial(call, url, method), range(tasks), chunksize=1)))
