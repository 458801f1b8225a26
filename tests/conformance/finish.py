"""Why a response says that it ended, read from its raw text."""

from __future__ import annotations

import json
import re

from tests.conformance.case import Case

_WORD = re.compile(
    r'"(?:finish_reason|stop_reason|stopReason|done_reason|finishReason|completionReason)": "(\w+)"'
)
_INCOMPLETE = re.compile(r'"incomplete_details": \{"reason": "(\w+)"')
_STATUS = re.compile(r'"status": "(completed)"')
_TOOL_CALL = re.compile(r'"(?:functionCall|function)": \{|"type": "function_call"')
_REFUSAL = re.compile(r'"refusal": "')
_MEANING = {
    "stop": ("stop", "STOP", "end_turn", "stop_sequence", "COMPLETE", "FINISH", "completed"),
    "length": ("length", "LENGTH", "max_tokens", "MAX_TOKENS", "max_output_tokens"),
    "tool_calls": ("tool_calls", "tool_use", "TOOL_CALL"),
    "content_filter": ("content_filter", "content_filtered", "SAFETY", "guardrail_intervened"),
    "refusal": ("refusal",),
}


def finish_reason(case: Case) -> str:
    """The member of the closed set that a choice's word means; empty without one.

    The first choice counts, or the last one of a text model.
    """
    return _meaning(case, -1 if case.wire == "openai-text" else 0)


def first_finish_reason(case: Case) -> str:
    """The same of the first choice, whatever the model."""
    return _meaning(case, 0)


def _meaning(case: Case, choice: int) -> str:
    raw = json.dumps(case.body if case.body is not None else case.events)
    words = [*_INCOMPLETE.findall(raw), *_WORD.findall(raw), *_STATUS.findall(raw)] or [""]
    word = words[choice]
    meant = next((reason for reason, words in _MEANING.items() if word in words), "other")
    if meant == "stop" and _TOOL_CALL.search(raw):
        return "tool_calls"
    if meant == "stop" and _REFUSAL.search(raw):
        return "refusal"
    return meant if word else ""
