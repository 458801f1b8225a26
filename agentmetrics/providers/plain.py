"""The two commonest answers where they say nothing out of the ordinary, read in a few lookups.

They are read as everything else is, only sooner: for all but what is known here to the last field,
``read_plainly`` says no.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from agentmetrics.providers.finish_reasons import REFUSAL, STOP, TOOL_CALLS, meaning_of
from agentmetrics.providers.reading import ELSEWHERE
from agentmetrics.providers.usage import Usage


class Told(Protocol):
    """What is told of a call: its tokens, why the model stopped, and which one served."""

    usage: Usage | None
    finish_reason: str

    def serve(self, model: str) -> None: ...


def read_plainly(call: Told, response: object) -> bool:
    """Put into a call what a chat completion of OpenAI's or a message of Anthropic's says, be it
    the SDK's object or plain data; ``False``, and nothing done, for anything else, and where it
    says more."""
    answer = _values(response)
    if answer is None:
        return False
    # What a model has declared says nothing else; a dictionary may have anything.
    if answer.get("object") == "chat.completion":
        known = answer is not response or answer.keys() <= _COMPLETION
        return known and _read_completion(call, answer)
    if answer.get("type") == "message":
        known = answer is not response or answer.keys() <= _MESSAGE
        return known and _read_message(call, answer)
    return False


def _values(holder: Any) -> Mapping[str, Any] | None:
    """The fields of a dictionary, or of a model of pydantic's that has no other ones."""
    if type(holder) is dict:
        return holder
    try:
        values: dict[str, Any] | None = None if holder.__pydantic_extra__ else holder.__dict__
    except AttributeError:  # no model
        return None
    return values


def _read_completion(call: Told, answer: Mapping[str, Any]) -> bool:
    # https://platform.openai.com/docs/api-reference/chat/object
    usage, choices = _values(answer.get("usage")), answer.get("choices")
    if usage is None or type(choices) is not list or not choices:
        return False
    choice = _values(choices[0])
    message = None if choice is None else _values(choice.get("message"))
    if choice is None or message is None:
        return False
    if not usage.keys() <= _USAGE or answer.get("service_tier") not in _ORDINARY:
        return False
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = usage.get(name)
        if details is not None and _counts(details):
            return False
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(sent) is not int or type(received) is not int:
        return False
    if usage.get("total_tokens") not in (None, sent + received):
        return False
    reason = meaning_of(choice.get("finish_reason"))
    if reason == STOP:
        if message.get("tool_calls") or message.get("function_call"):
            reason = TOOL_CALLS
        elif message.get("refusal"):
            reason = REFUSAL
    return _tell(call, sent, received, answer.get("model"), reason)


def _counts(details: object) -> bool:
    """Whether any detail of a count is above 0, or it has some that are not known."""
    counts = _values(details)
    return counts is None or any(counts.values())


def _read_message(call: Told, answer: Mapping[str, Any]) -> bool:
    # https://docs.anthropic.com/en/api/messages
    usage, name = _values(answer.get("usage")), answer.get("id")
    if usage is None or type(name) is not str or name.startswith(ELSEWHERE):
        return False
    for name, value in usage.items():
        if value and name not in _PLAIN_USAGE and value not in _ORDINARY and _counts(value):
            return False
    reason = meaning_of(answer.get("stop_reason"))
    return _tell(
        call, usage.get("input_tokens"), usage.get("output_tokens"), answer.get("model"), reason
    )


def _tell(call: Told, sent: object, received: object, model: object, reason: str) -> bool:
    if type(sent) is not int or type(received) is not int or type(model) is not str:
        return False
    usage = Usage.plain(sent, received)
    if usage.doubt is not None:
        return False
    call.usage, call.finish_reason = usage, reason
    call.serve(model)
    return True


_COMPLETION = frozenset(
    {
        *("id", "object", "created", "model", "choices", "usage", "service_tier"),
        *("system_fingerprint", "metadata", "moderation"),
    }
)
_USAGE = frozenset(
    {
        *("prompt_tokens", "completion_tokens", "total_tokens"),
        *("prompt_tokens_details", "completion_tokens_details"),
    }
)
_MESSAGE = frozenset(
    {
        *("id", "type", "role", "model", "content", "usage", "stop_reason", "stop_sequence"),
        *("container", "context_management", "stop_details", "diagnostics"),
    }
)
_PLAIN_USAGE = ("input_tokens", "output_tokens")
_ORDINARY = (None, "default", "standard")
"""What service tiers are called that are priced as none is."""
