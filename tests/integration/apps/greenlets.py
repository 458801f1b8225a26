"""Agents in gevent's greenlets: ``python -m gevent.monkey --module …greenlets DIRECTORY``.

Prints what was counted of them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import gevent
from langchain_core.language_models import FakeListChatModel

from agentmetrics import (
    MetricsCallbackHandler,
    configure,
    get_ledger,
    track_call,
    track_run,
)

AGENTS = 20
CALLS_EACH = 10
STOPPED = 5
LONG_SECONDS = 600


def calls(agent: str) -> None:
    """Each beside those of the other agents, between two switches of the greenlet."""
    for _ in range(CALLS_EACH):
        with track_run(agent, max_cost_usd=1), track_call("openai", "gpt-4o-mini") as call:
            gevent.sleep(0.001)
            call.record_usage(input_tokens=1, output_tokens=1)


def long_call() -> None:
    with track_run("stopped"), track_call("openai", "gpt-4o-mini"):
        gevent.sleep(LONG_SECONDS)


def long_call_of_langchain() -> None:
    model = FakeListChatModel(responses=["x"], sleep=LONG_SECONDS)
    model.invoke(
        "x", {"callbacks": [MetricsCallbackHandler()], "metadata": {"agent_name": "stopped"}}
    )


def timed_out() -> None:
    with gevent.Timeout(0.02, False):  # False: it does not leave the block
        long_call()


def main(directory: Path) -> None:
    recorder = configure(backend="prometheus", ledger_url=f"sqlite:///{directory}/spend.db")
    ledger = get_ledger()
    gevent.joinall([gevent.spawn(calls, f"agent-{n}") for n in range(AGENTS)], raise_error=True)
    stopped = [gevent.spawn(work) for work in [long_call, long_call_of_langchain] * STOPPED]
    gevent.sleep(0.05)
    active = recorder.value("llm_active_calls")
    gevent.killall(stopped)
    gevent.joinall([gevent.spawn(timed_out) for _ in range(STOPPED)], raise_error=True)
    child = os.fork()
    if not child:
        calls("child")
        ledger.flush()
        os._exit(0)
    _, ended = os.waitpid(child, 0)
    ledger.flush()
    groups = ledger.summary().groups
    came = {
        "by agent": sorted(
            {recorder.value("llm_calls_total", agent_name=f"agent-{n}") for n in range(AGENTS)}
        ),
        "active while they hung": active,
        "active": recorder.value("llm_active_calls"),
        "stopped": {
            status: recorder.value("llm_calls_total", agent_name="stopped", status=status)
            for status in ("success", "error", "cancelled")
        },
        "the child's exit": ended,
        "in the ledger": sum(group.amounts.calls for group in groups),
        "of the child": [
            group.amounts.calls for group in groups if group.labels["agent_name"] == "child"
        ],
        "errors": recorder.value("agentmetrics_handler_errors_total"),
    }
    print(json.dumps(came))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
