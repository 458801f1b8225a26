"""What the demo's model answers: to each agent its next reply, its delays and its failures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

STALLING = "the history of everything"
"""The subject over which the writer's model thinks until the caller gives up."""

AGENTS = ("planner", "researcher", "writer")
_SNAPSHOTS = {
    "o4-mini": "o4-mini-2025-04-16",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4o": "gpt-4o-2024-08-06",
}
_DRAFT = (
    "Metrics answer the question that a log line cannot: how often, how long and how much. "
    "A counter that rises tells more than a thousand lines that scroll by, because it can be "
    "added up over every process and compared with yesterday. What an agent costs is known "
    "only where the provider says so, in the usage block of each response; so it is read "
    "there, and never guessed. What is unknown stays unknown."
)
_PLAN = "1. Find what has been measured. 2. Read the two best sources. 3. Say it in one page."
_SUMMARY = "Two sources agree: averages hide the slow calls, so quantiles are what to look at."


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one answer, as the wire's usage block has them."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model: text or tool calls, and how long it takes."""

    text: str = ""
    tool_calls: tuple[tuple[str, dict[str, str]], ...] = ()
    usage: Usage = Usage()
    seconds: float = 0.05
    seconds_per_chunk: float = 0.008
    stalls: bool = False


def agent_of(messages: list[Message]) -> str:
    """The agent that asks, by its system prompt ("You are the planner. …")."""
    prompt = _text(messages[0])
    return next((agent for agent in AGENTS if f"You are the {agent}." in prompt), "unknown")


def served(model: str) -> str:
    """The dated name of the model that answers for an undated one, as OpenAI reports it."""
    return _SNAPSHOTS.get(model, model)


def reply_to(messages: list[Message], tools: list[Message]) -> Reply:
    """What the model says next in this conversation; the same for the same conversation."""
    agent = agent_of(messages)
    prompt = sum(map(_tokens, messages)) + len(json.dumps(tools)) // 4
    if agent == "planner":
        reasoning = 64 + 64 * (_spread(messages) % 3)
        usage = Usage(prompt, len(_PLAN) // 4 + reasoning, reasoning=reasoning)
        return Reply(_PLAN, usage=usage, seconds=0.09 + reasoning / 2000)
    if agent == "researcher":
        return _researcher(messages, prompt)
    stalls = any(STALLING in _text(message) for message in messages)
    words = 24 + _spread(messages) % 30
    draft = " ".join(_DRAFT.split()[:words])
    return Reply(draft, usage=Usage(prompt, len(draft) // 4), seconds=0.06, stalls=stalls)


def _researcher(messages: list[Message], prompt: int) -> Reply:
    """Search, then read two pages at once, then say what was found."""
    turn = sum(bool(message.get("tool_calls")) for message in messages)
    question = next(_text(message) for message in messages if message["role"] == "user")
    seconds = 0.03 + (_spread(messages) % 40) / 1000
    # What an earlier turn sent is read from the prompt cache, in steps as OpenAI does it.
    seen = messages[: _last_turn(messages)]
    cached = sum(map(_tokens, seen)) // 16 * 16
    if turn == 0:
        calls: tuple[tuple[str, dict[str, str]], ...] = (("search", {"query": question}),)
    elif turn == 1:
        calls = (("read_page", {"title": "latency"}), ("read_page", {"title": "cost"}))
    else:
        usage = Usage(prompt, len(_SUMMARY) // 4, cached)
        return Reply(_SUMMARY, usage=usage, seconds=seconds)
    return Reply(tool_calls=calls, usage=Usage(prompt, 18 * len(calls), cached), seconds=seconds)


def _last_turn(messages: list[Message]) -> int:
    """Where the last request for tools stands; what is before it was sent before."""
    turns = [index for index, message in enumerate(messages) if message.get("tool_calls")]
    return turns[-1] if turns else 0


def _tokens(message: Message) -> int:
    return 4 + len(_text(message)) // 4 + len(json.dumps(message.get("tool_calls", []))) // 4


def _text(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(content or "")


def _spread(messages: list[Message]) -> int:
    """A number that differs from one conversation to the next and is the same in every run."""
    return hashlib.sha256(_text(messages[-1]).encode()).digest()[0]
