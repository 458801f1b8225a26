"""A process that makes calls at a pace and writes down, call by call, what it has made.

    python spending.py URL AGENT CALLS DIRECTORY

The size of DIRECTORY/AGENT.made is the number of calls that have ended, DIRECTORY/AGENT.flushed
the number that a flush has certainly written, DIRECTORY/AGENT.metrics what the recorder says.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from agentmetrics import LedgerUnavailable, configure, get_ledger, track_call

CALLS_AT_ONCE = 500
PAUSE_SECONDS = 0.1
CALLS_PER_FLUSH = 2000


def main(url: str, agent: str, calls: int, directory: Path) -> None:
    recorder = configure(ledger_url=url, ledger_flush_interval=0.3)
    made = os.open(directory / f"{agent}.made", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(1, calls + 1):
        with track_call("openai", "gpt-4o-mini", agent_name=agent) as call:
            call.record_usage(input_tokens=number, output_tokens=1)
        os.write(made, b".")
        if number % CALLS_AT_ONCE == 0:
            time.sleep(PAUSE_SECONDS)
        if number % CALLS_PER_FLUSH == 0:
            with suppress(LedgerUnavailable):
                get_ledger().flush()
                (directory / f"{agent}.flushed").write_text(str(number))
    cost = recorder.value("llm_cost_usd_total")
    (directory / f"{agent}.metrics").write_text(repr(cost))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
