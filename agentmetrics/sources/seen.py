"""Which call goes on here that is recorded already: a wrapped client's request in it is no other.

Whoever records a call leaves its number in the context before it is made. That is never taken back:
a call that is over is not in the table any more, and a stream that has begun to arrive was asked
for, so that a request which its reader makes is another call.
"""

from __future__ import annotations

from contextvars import ContextVar

from agentmetrics.calls.facts import LLMCall
from agentmetrics.calls.table import RunId
from agentmetrics.pipeline import Pipeline
from agentmetrics.recording.collector import is_collecting

_number: ContextVar[int] = ContextVar("agentmetrics_seen", default=0)
_is_asked = False


def ask() -> None:
    """Let calls be noted from now on: there is a client whose requests may be part of one."""
    global _is_asked
    _is_asked = True


def note(run_id: RunId) -> None:
    """Note that the call of this id is about to be made, by whoever records it."""
    if _is_asked and not is_collecting():
        _number.set(run_id.int)  # not the id itself, whose end is that of the call


def is_seen(pipeline: Pipeline) -> bool:
    """Whether a request that is made here is part of a call that this pipeline has already."""
    number = 0 if is_collecting() else _number.get()
    if not number:
        return False
    call = pipeline.table.at(number)
    return isinstance(call, LLMCall) and not call.first_token
