"""What single providers' packages put elsewhere than LangChain's common places, or leave out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from agentmetrics.facts import LLMCall
from agentmetrics.usage import Usage


class ErrorInResponse(Exception):  # noqa: N818 - not an error of ours
    """A response that is an error, which the provider's package passed over in silence."""

    def __init__(self, status_code: int) -> None:
        super().__init__(status_code)
        self.status_code = status_code


Amend = Callable[[LLMCall, Mapping[str, Any], Mapping[str, Any]], None]
"""Takes a call that has what the common places say, the message's ``response_metadata`` (a text
LLM's ``generation_info``) and ``llm_output``."""


def _mistral(call: LLMCall, served: Mapping[str, Any], llm_output: Mapping[str, Any]) -> None:
    # langchain-mistralai hands cached tokens on in llm_output alone, and not in streams.
    block = llm_output.get("token_usage")
    if block and call.usage is not None:
        call.usage = Usage.from_response({"usage": block})


def _openrouter(call: LLMCall, served: Mapping[str, Any], llm_output: Mapping[str, Any]) -> None:
    # langchain-openrouter drops the error of a chunk that has choices, whose end says so.
    # https://openrouter.ai/docs/api-reference/errors: it is the upstream provider's.
    if served.get("finish_reason") == "error":
        raise ErrorInResponse(502)


def _azure(call: LLMCall, served: Mapping[str, Any], llm_output: Mapping[str, Any]) -> None:
    # AzureChatOpenAI puts its model_version behind a name that has it already.
    call.model = _DOUBLED_VERSION.sub(r"\1", call.model)


_DOUBLED_VERSION = re.compile(r"(-[0-9-]+)\1$")

QUIRKS: Mapping[str, Amend] = {
    "azure": _azure,
    "mistral": _mistral,
    "openrouter": _openrouter,
}
"""By the provider of the call."""
