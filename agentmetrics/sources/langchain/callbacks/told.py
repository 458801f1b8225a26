"""What the chunks of a stream tell of its usage, which LangChain adds up when it joins them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Block = Mapping[str, Any]

_IN_PARTS = frozenset({"google_genai", "google_vertexai"})
"""Providers whose packages hand on how much more it is than with the chunk before.

Their prompts may grow, by what a tool of the provider's own has found.
"""
_SO_FAR = frozenset(
    {
        *("openai", "deepseek", "groq", "mistralai", "openrouter", "xai", "fireworks"),
        "anthropic",
    }
)
"""Packages that hand on what the provider sends: on OpenAI's wire, the usage of the whole answer
so far, as vLLM's ``continuous_usage_stats`` and xAI's streams repeat it on every chunk; and that of
Anthropic's ``message_delta``, of which there may be several
(https://docs.anthropic.com/en/docs/build-with-claude/streaming)."""


_OF_PROMPT = ("input_tokens", "input_token_details")


class Told:
    """The usage of a stream so far, by its chunks.

    Most packages tell it once. Of those that tell it more often, some say what is new and some say
    all of it again, and LangChain's sum is right for the first alone. A chunk that counts the
    prompt again says all: a prompt is sent once.
    """

    __slots__ = ("_last", "block", "is_in_doubt", "is_repeated")

    def __init__(self, block: Block) -> None:
        self.block = self._last = block
        self.is_repeated = self.is_in_doubt = False

    def take(self, block: Block, provider: object, package: object) -> None:
        """Take the usage of another chunk, of a call of ``provider`` by that ``package``."""
        if block is self._last:  # another handler has it already
            return
        self._last = block
        if package in _SO_FAR or (provider not in _IN_PARTS and self._counts_again(block)):
            self.is_repeated = True
            if block.get("input_tokens"):
                self.block = block
            elif block.get("output_tokens"):  # and the prompt was told before
                told = {name: self.block.get(name) for name in _OF_PROMPT}
                self.block = {**block, **told, "total_tokens": None}
        else:
            self.block = _added(self.block, block)

    def _counts_again(self, block: Block) -> bool:
        prompt, before = block.get("input_tokens"), self.block.get("input_tokens")
        return type(prompt) is int is type(before) and prompt >= before > 0

    def instead_of(self, joined: Block | None) -> Block:
        """The usage of the whole stream, where ``joined`` is LangChain's sum.

        A package may hide a chunk from us; but the sum of those events that are streamed in version
        3 has the details of the last chunk alone.
        """
        if joined is None or self.is_repeated or _is_same(joined, self.block):
            return self.block
        return joined


def _added(one: Block, other: Block) -> Block:
    """Both blocks in one, with the sums of their counts."""
    both = dict(one)
    for name, count in other.items():
        before = both.get(name)
        if isinstance(before, Mapping) and isinstance(count, Mapping):
            both[name] = _added(before, count)
        elif type(before) is int is type(count):
            both[name] = before + count
        elif before is None:
            both[name] = count
    return both


def _is_same(one: Block, other: Block) -> bool:
    return all(one.get(name) == other.get(name) for name in ("input_tokens", "output_tokens"))
