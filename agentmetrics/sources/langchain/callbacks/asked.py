"""What a request asks for that prices the call, and that packages do not hand on with the answer.

To be read when the call starts, of the providers that have something of the kind. Nothing of what
is sent is kept but that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agentmetrics.calls.facts import LLMCall
from agentmetrics.pricing.places import is_listed
from agentmetrics.recording.metric import clean_label

Params = Mapping[str, Any]


class Asked(NamedTuple):
    """A request, as LangChain tells it when its call starts."""

    metadata: Params
    params: Params
    serialized: Params
    messages: Sequence[Any]


Note = Callable[[LLMCall, Asked], None]
"""Puts what it asks for into its call."""

HOUR, MIXED = "1h", "mixed"
_FIVE_MINUTES = "5m"


def _anthropic(call: LLMCall, asked: Asked) -> None:
    # https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching: what is kept for an hour
    # costs more to write, and langchain-anthropic does not say of a stream what was kept how long.
    kept = set(_times_to_live(asked.params, asked.messages))
    if HOUR in kept:
        call.kept_for = HOUR if kept == {HOUR} else MIXED


def _times_to_live(params: Params, messages: Sequence[Any]) -> Iterator[str]:
    blocks = [
        params,
        *_dicts([params.get("model_kwargs")]),
        *_dicts(params.get("tools")),
        *_dicts(params.get("system")),
    ]
    for message in messages:
        content = getattr(message, "content", None)
        if type(content) is list:
            for block in _dicts(content):
                blocks += [block, *_dicts(block.get("content"))]  # of a tool's result
    for block in blocks:
        control = block.get("cache_control")
        if type(control) is dict:
            yield control.get("ttl") or _FIVE_MINUTES


def _dicts(blocks: Any) -> list[Params]:
    return [block for block in blocks if type(block) is dict] if type(blocks) is list else []


def _bedrock(call: LLMCall, asked: Asked) -> None:
    client = asked.metadata.get("ls_invocation_params")
    _place(call, client.get("region_name") if type(client) is dict else None)
    _anthropic(call, asked)  # Claude, by InvokeModel


def _google(call: LLMCall, asked: Asked) -> None:
    model = asked.serialized.get("kwargs")
    if type(model) is dict and model.get("vertexai"):
        _place(call, model.get("location"))


def _place(call: LLMCall, region: Any) -> None:
    if type(region) is str and not is_listed(call.provider, region):
        call.place = clean_label(region)


NOTES: Mapping[str, Note] = {
    "anthropic": _anthropic,
    "amazon_bedrock": _bedrock,
    "google_genai": _google,
    "google_vertexai": _google,
}
"""By the provider of a call."""


def keep_for(call: LLMCall) -> None:
    """Say in a call's usage what was written to the cache for an hour, where nothing else did.

    Where some was to be kept for five minutes, nobody knows how much: then it has no price.
    """
    usage = call.usage
    if usage is None or usage.cache_creation_1h_tokens is not None:
        return
    written = usage.cache_creation_tokens
    if not written:
        return
    if call.kept_for == HOUR:
        call.usage = usage.but_with(cache_creation_1h_tokens=written)
    else:
        call.usage = usage.but_with(unknown_tokens=(usage.unknown_tokens or 0) + written)
