"""A call, and a byte in a file once it has returned: what all the programs do."""

from __future__ import annotations

import os
from contextlib import ExitStack

from agentmetrics import get_recorder, track_call

AGENT, PROVIDER, MODEL = "ends", "openai", "gpt-4o-mini"
_held = ExitStack()


def call() -> None:
    """One call that succeeds; it is acknowledged when the program has it back."""
    with track_call(PROVIDER, MODEL, agent_name=AGENT) as made:
        made.record_usage(1000, 1000)
    acknowledged = os.open(os.environ["ENDS_ACKNOWLEDGED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(acknowledged, b".")
    os.close(acknowledged)


def calls(count: int) -> None:
    for _ in range(count):
        call()


def hold() -> None:
    """Leave a call in flight for as long as the process lives, and show it."""
    _held.enter_context(track_call(PROVIDER, MODEL, agent_name=AGENT))
    get_recorder().flush()
