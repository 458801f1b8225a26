"""The answers that are read in a few lookups say what they say when they are read in full."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from agentmetrics.calls.facts import LLMCall
from agentmetrics.providers.plain import read_plainly
from agentmetrics.providers.responses import read_response
from agentmetrics.providers.streams import StreamReader
from agentmetrics.providers.usage import Usage
from tests.conformance.case import Case, all_cases

BODIES = [case for case in all_cases() if isinstance(case.body, dict) and not case.failed]
MODELS = {"chat.completion": ChatCompletion, "message": Message}


def plainly(response: object) -> LLMCall | None:
    call = LLMCall("agent", "provider", "model", 0.0)
    return call if read_plainly(call, response) else None


def as_said(usage: Usage | None) -> dict[str, int]:
    """What was counted; a detail that is 0 is as good as none."""
    return {name: count for name, count in vars(usage).items() if count and name != "has_details"}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in BODIES])
def test_what_is_read_plainly_is_what_is_read_in_full(case: Case) -> None:
    forms = [case.body]
    model = MODELS.get(case.body.get("object") or case.body.get("type", ""))
    if model is not None:
        forms.append(model.construct(**case.body))  # type: ignore[attr-defined]
    for response in forms:
        call = plainly(response)
        if call is not None:
            reader = StreamReader()
            read_response(reader, response)
            assert as_said(call.usage) == as_said(reader.usage)
            assert call.served_model == reader.served_model
            assert call.finish_reason == reader.finish_reason
            assert (call.service_tier, reader.service_tier) == ("", "")
            assert reader.failure is None


def test_most_plain_answers_are() -> None:
    plain = {case.id for case in BODIES if plainly(case.body) is not None}
    assert {"openai-chat/plain", "anthropic/plain", "anthropic/tool-call"} <= plain


class Odd:
    @property
    def __pydantic_extra__(self) -> Any:
        raise AttributeError


@pytest.mark.parametrize(
    "response",
    [None, "text", b"", 3, [], {}, SimpleNamespace(object="chat.completion"), Odd(), dict],
)
def test_anything_else_is_not_read_plainly(response: object) -> None:
    assert plainly(response) is None


@pytest.mark.parametrize(
    "more",
    [
        {"service_tier": "flex"},
        {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.1}},
        {"usage": {"prompt_tokens": 3, "completion_tokens": True}},
        {"usage": {"prompt_tokens": 3}},
        {"usage": None},
        {"x_groq": {"usage": {}}},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"model": None},
        {
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 1},
            }
        },
    ],
)
def test_what_is_out_of_the_ordinary_is_read_in_full(more: dict[str, Any]) -> None:
    plain: dict[str, Any] = {
        "object": "chat.completion",
        "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "a"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    assert plainly(plain) is not None
    assert plainly({**plain, **more}) is None
