"""What the demo's model answers: to each agent its next reply, its delays and its failures."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

from agentmetrics.cli.demo.cues import (
    ANSWERS,
    BUSY_TRANSLATOR,
    RATE_LIMIT,
    SERVER_ERROR,
    STALL_SECONDS,
    Refusal,
    Reply,
    Usage,
)

Message = dict[str, Any]
Turns = tuple[tuple[tuple[str, dict[str, str]], ...], ...]
"""The tools that the model asks for, turn by turn."""

STALLING = "the history of everything"
"""The subject over which the writer's model thinks until the caller gives up."""

_REFUSED = {  # of every so many requests of an agent, the one that is refused, and how
    "planner": (8, 1, RATE_LIMIT),
    "writer": (9, 9, SERVER_ERROR),
    "support": (14, 14, RATE_LIMIT),
    "archivist": (9, 5, SERVER_ERROR),
}
_AGENT = re.compile(r"You are the (\w+)\.")
_SNAPSHOTS = {
    "o4-mini": "o4-mini-2025-04-16",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
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
_HELPED = "It is on its way, and you will hear from us once it has been done."


def agent_of(messages: list[Message]) -> str:
    """The agent that asks, by its system prompt ("You are the planner. …")."""
    found = _AGENT.search(_text(messages[0]))
    return found[1] if found else "unknown"


def served(model: str) -> str:
    """The dated name of the model that answers for an undated one, as OpenAI reports it."""
    return _SNAPSHOTS.get(model, model)


def answer(agent: str, number: int, body: Message) -> Reply | Refusal:
    """What the model says to the ``number``-th request of an agent.

    The same for the same number and conversation.
    """
    messages, tools = body["messages"], body.get("tools", [])
    question = _question(messages)
    every, refused, refusal = _REFUSED.get(agent, (1, 0, SERVER_ERROR))
    if (number - 1) % every + 1 == refused:
        return refusal
    if agent == "translator" and BUSY_TRANSLATOR in question and body["model"] == "gpt-4.1":
        return SERVER_ERROR
    prompt = sum(map(_tokens, messages)) + len(json.dumps(tools)) // 4
    if agent == "planner":
        return _plan(messages, prompt)
    if agent == "researcher":
        return _use_tools(messages, prompt, _research(question), _SUMMARY)
    if agent == "support":
        return _use_tools(messages, prompt, _help(question), _HELPED)
    if agent == "writer" and STALLING in question:
        return Reply(seconds=STALL_SECONDS)
    scripted = ANSWERS.get(question)
    if isinstance(scripted, Refusal):
        return scripted
    reply = scripted or _draft(messages)
    usage = replace(
        reply.usage,
        prompt=prompt + reply.usage.audio_in,
        completion=len(reply.text) // 4 + reply.usage.audio_out,
    )
    return replace(reply, usage=usage)


def _plan(messages: list[Message], prompt: int) -> Reply:
    reasoning = 64 + 64 * (_spread(messages) % 3)
    usage = Usage(prompt, len(_PLAN) // 4 + reasoning, reasoning=reasoning)
    return Reply(_PLAN, usage=usage, seconds=0.09 + reasoning / 2000)


def _draft(messages: list[Message]) -> Reply:
    words = 24 + _spread(messages) % 30
    return Reply(" ".join(_DRAFT.split()[:words]), seconds=0.06)


def _research(question: str) -> Turns:
    """Search, then read two pages at once."""
    pages = (("read_page", {"title": "latency"}), ("read_page", {"title": "cost"}))
    return (("search", {"query": question}),), pages


def _help(question: str) -> Turns:
    """Look into the handbook, then do what the customer asks for."""
    order = {"order": question.split()[-1].rstrip("?.")}
    tool = "refund" if "back" in question else "delivery_date"
    return (("look_up", {"query": question}),), ((tool, order),)


def _use_tools(messages: list[Message], prompt: int, turns: Turns, summary: str) -> Reply:
    """Ask for the tools of one turn after the other, then say what was found."""
    turn = sum(bool(message.get("tool_calls")) for message in messages)
    seconds = 0.03 + (_spread(messages) % 40) / 1000
    # What an earlier turn sent is read from the prompt cache, in steps as OpenAI does it.
    seen = messages[: _last_turn(messages)]
    cached = sum(map(_tokens, seen)) // 16 * 16
    if turn < len(turns):
        usage = Usage(prompt, 18 * len(turns[turn]), cached)
        return Reply(tool_calls=turns[turn], usage=usage, seconds=seconds)
    return Reply(summary, usage=Usage(prompt, len(summary) // 4, cached), seconds=seconds)


def _last_turn(messages: list[Message]) -> int:
    """Where the last request for tools stands; what is before it was sent before."""
    turns = [index for index, message in enumerate(messages) if message.get("tool_calls")]
    return turns[-1] if turns else 0


def _question(messages: list[Message]) -> str:
    """What the user asked first."""
    return next((_text(message) for message in messages if message["role"] == "user"), "")


def _tokens(message: Message) -> int:
    return 4 + len(_text(message)) // 4 + len(json.dumps(message.get("tool_calls", []))) // 4


def _text(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else json.dumps(content or "")


def _spread(messages: list[Message]) -> int:
    """A number that differs from one conversation to the next and is the same in every run."""
    return hashlib.sha256(_text(messages[-1]).encode()).digest()[0]
