"""A program that forks with calls that are not written yet; what its ledger has is for a test."""

from __future__ import annotations

import os
import sys
import time

from agentmetrics import configure, get_ledger, track_call

INTERVAL_SECONDS = 0.2


def call(agent: str) -> None:
    with track_call("openai", "gpt-4o", agent_name=agent) as tracked:
        tracked.record_usage(input_tokens=1, output_tokens=1)


def child(name: str, ends: str) -> None:
    """Make two calls and end: in order, or suddenly once they are written."""
    call(name)
    call(name)
    if ends == "in order":
        sys.exit(0)
    if ends == "after a flush":
        get_ledger().flush()
    else:  # after its own thread has written
        ledger = get_ledger()
        while ledger.pending_rows():
            time.sleep(0.01)
    os._exit(0)


def main(url: str) -> None:
    configure(ledger_url=url, ledger_flush_interval=3600.0)
    children: list[int] = []
    for _ in range(3):
        call("parent")
    for ends in ("in order", "after a flush"):
        children.append(os.fork())
        if children[-1] == 0:
            child(ends, ends)
    configure(ledger_url=url, ledger_flush_interval=INTERVAL_SECONDS)
    call("parent")
    children.append(os.fork())
    if children[-1] == 0:
        child("by its thread", "by its thread")
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    call("parent")


if __name__ == "__main__":
    main(sys.argv[1])
