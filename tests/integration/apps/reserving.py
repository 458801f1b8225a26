"""A fleet that makes calls until its shared budgets cover no more, some of it killed meanwhile.

    python reserving.py URL LIMIT_OF_ALL LIMIT_OF_ONE KILLS DIRECTORY

DIRECTORY/NUMBER.spent has what each call of a process cost, in nano-dollars, written before the
call ends: a process that is killed may have spent that.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from agentmetrics import Budget, BudgetExceeded, MemoryRecorder, configure, track_call

PROCESSES, AGENTS = 8, 4
NANO_PER_TOKEN, MOST_TOKENS = 150, 1000  # of gpt-4o-mini
MOST_USD = NANO_PER_TOKEN * MOST_TOKENS / 1e9
REFUSED_IN_A_ROW = 20
"""So often a process is refused before it gives up what the dead had reserved."""


def shared(name: str, limit_usd: str, **scope: str) -> Budget:
    return Budget(
        name,
        float(limit_usd),
        scope=scope,
        action="block",
        reserve="max_tokens",
        reserve_in="ledger",
    )


def work(url: str, of_all: str, of_one: str, number: int, patience: float, directory: Path) -> None:
    agent = f"agent {number % AGENTS}"
    configure(
        MemoryRecorder(),
        ledger_url=url,
        on_ledger_error="block",
        budgets=[shared("all", of_all), shared(agent, of_one, agent_name=agent)],
    )
    refused = 0
    with (directory / f"{number}.spent").open("a", buffering=1) as file:
        while refused < patience:
            try:
                with track_call(
                    "openai",
                    "gpt-4o-mini",
                    agent_name=agent,
                    max_input_tokens=MOST_TOKENS,
                    max_output_tokens=0,
                ) as call:
                    tokens = random.randint(1, MOST_TOKENS)
                    time.sleep(random.random() / 50)
                    call.record_usage(tokens, 0)
                    file.write(f"{tokens * NANO_PER_TOKEN}\n")
                refused = 0
            except BudgetExceeded as error:
                if error.limit_usd - error.spent_usd < MOST_USD:
                    break
                refused += 1
                time.sleep(0.05)
    configure(MemoryRecorder(), budgets=[])  # and so the ledger and the budgets are closed


def started(
    url: str, of_all: str, of_one: str, number: int, patience: float, directory: Path
) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(url, of_all, of_one, number, patience, directory)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def main(url: str, of_all: str, of_one: str, kills: int, directory: Path) -> None:
    patience = REFUSED_IN_A_ROW if kills else math.inf

    def start(number: int) -> int:
        return started(url, of_all, of_one, number, patience, directory)

    children = {number: start(number) for number in range(PROCESSES)}
    for number in range(kills):
        spent = directory / f"{number}.spent"
        while not spent.exists() or spent.read_text().count("\n") < number + 3:
            assert os.waitpid(children[number], os.WNOHANG) == (0, 0)
            time.sleep(0.005)
        os.kill(children[number], signal.SIGKILL)
        assert os.waitpid(children.pop(number), 0)[1] == signal.SIGKILL
        heir = PROCESSES + number
        children[heir] = start(heir)
    for child in children.values():
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5]))
