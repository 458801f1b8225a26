"""Details of a usage that nobody here knows: a call that has some is one half understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from agentmetrics.providers.counts import MAX_TOKENS
from agentmetrics.providers.fields import field, fields_of

_HOLDERS = (
    *("prompt_tokens_details", "completion_tokens_details"),
    *("input_tokens_details", "output_tokens_details"),
    *("input_token_details", "output_token_details"),
    "cache_creation",
)
"""Where usages have their details, each a part of the input or of the output."""

KNOWN = frozenset(
    {
        # Read, see ``blocks``; of LangChain with and without OpenAI's service tiers
        *("cached_tokens", "cache_write_tokens", "reasoning_tokens", "thinking_tokens"),
        *("audio_tokens", "image_tokens", "audio", "image", "reasoning"),
        *("cache_read", "cache_creation", "cache_creation_tokens"),
        *("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
        *("flex", "flex_cache_read", "flex_cache_creation", "flex_reasoning"),
        *("priority", "priority_cache_read", "priority_cache_creation", "priority_reasoning"),
        # Text, which is what the rates of input and output are of
        *("text_tokens", "text"),
        # https://platform.openai.com/docs/api-reference/chat/object: output like any other
        *("accepted_prediction_tokens", "rejected_prediction_tokens"),
        # What is in a detail beside it: of OpenAI's Realtime, of LiteLLM
        *("cached_tokens_details", "cache_creation_token_details"),
        # https://docs.litellm.ai: numbers of other things, or fees that no token has
        *("character_count", "web_search_requests"),
    }
)
"""The names of details that are read, or say nothing that has a price of its own."""

_BESIDE = ("prompt_audio_seconds",)
"""Fields of a usage that are billed by other units than tokens.

https://docs.mistral.ai/capabilities/audio
"""


def unknown_tokens(block: object) -> int | None:
    """How many tokens are in the details that are not known; ``None`` where there are none.

    A rate is that of a kind of tokens: such a call has no price but the one that its provider
    tells.
    """
    holders = (field(block, holder) for holder in _HOLDERS)
    details = chain.from_iterable(map(_items, holders))
    unknown = [value for name, value in details if name not in KNOWN]
    unknown += [field(block, name) for name in _BESIDE]
    return sum(map(_amount, unknown)) or None


def _items(holder: Any) -> Iterator[tuple[str, Any]]:
    """The fields of plain data, or of an SDK's object."""
    if isinstance(holder, Mapping):
        yield from fields_of(holder)
    elif holder is not None and not isinstance(holder, int | float | str | list | tuple):
        yield from fields_of(getattr(holder, "__dict__", {}))
        yield from fields_of(getattr(holder, "__pydantic_extra__", None) or {})


def _amount(value: object, layers: int = 2) -> int:
    if type(value) is int or type(value) is float:
        return max(1, int(value)) if 0 < value <= MAX_TOKENS else int(value > 0)
    return sum(_amount(inner, layers - 1) for _, inner in _items(value)) if layers else 0
