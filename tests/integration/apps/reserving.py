"""One process of a fleet that makes calls until its shared budgets cover no more.

Its arguments: the ledger's URL, the agent that it is, the limit of all in USD and of one agent, and
a directory, into which it writes what each call cost, in nano-dollars, just before the call ends.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from agentmetrics import Budget, BudgetExceeded, configure, get_ledger, track_call

NANO_PER_TOKEN, MOST_TOKENS = 150, 1000  # of gpt-4o-mini
REFUSED_IN_A_ROW = 30


def main(url: str, agent: str, of_all: str, of_one: str, directory: str) -> None:
    shared = {"action": "block", "reserve": "max_tokens", "reserve_in": "ledger"}
    configure(
        ledger_url=url,
        on_ledger_error="block",
        budgets=[
            Budget("all", float(of_all), **shared),
            Budget(agent, float(of_one), scope={"agent_name": agent}, **shared),
        ],
    )
    refused = 0
    with (Path(directory) / f"{agent}.{time.time_ns()}.spent").open("a", buffering=1) as file:
        while refused < REFUSED_IN_A_ROW:
            try:
                with track_call(
                    "openai", "gpt-4o-mini", agent_name=agent,
                    max_input_tokens=MOST_TOKENS, max_output_tokens=0,
                ) as call:  # fmt: skip
                    tokens = random.randint(1, MOST_TOKENS)
                    time.sleep(random.random() / 100)
                    call.record_usage(tokens, 0)
                    file.write(f"{tokens * NANO_PER_TOKEN}\n")
                refused = 0
            except BudgetExceeded:
                refused += 1
                time.sleep(0.05)
    get_ledger().close()


if __name__ == "__main__":
    main(*sys.argv[1:])
