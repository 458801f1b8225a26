"""The errors of LangChain, LangGraph and the provider packages: their types, by name and text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agentmetrics.calls.outcome import add_control_flow, is_a
from agentmetrics.providers.error_types import add_class_names, add_reader, by_code

# langchain-core's ModelError family, and langchain-openai's own.
_BY_CLASS_NAME: Final = {
    "OpenAIRefusalError": "content_filter",
    "ModelTimeoutError": "timeout",
    "ModelRateLimitError": "rate_limit",
    "ModelAuthenticationError": "authentication",
    "ModelPermissionDeniedError": "authentication",
    "ModelConnectionError": "connection",
    "ModelNotFoundError": "invalid_request",
    "ModelInvalidRequestError": "invalid_request",
}
_BEFORE_CODES: Final = {
    "ContextOverflowError": "context_length"
}  # it says more than Bedrock's code

# Of "server_error: …", "ResponseError(code='server_error', …)" and "… (code: 502)".
_CODE_IN_TEXT: Final = re.compile(r"^\w+(?=: )|(?<=\bcode=')\w+|(?<=\(code: )\w+")


def is_interrupt(error: object) -> bool:
    """Whether ``error`` stops a LangGraph graph until it is resumed."""
    return is_a(error, "langgraph.errors", "GraphInterrupt")


def _by_body(error: BaseException) -> str | None:
    """What langchain-openai and langchain-openrouter make of an error in the body of a 200.

    It is a plain ``ValueError`` of the error object or of a sentence with its code.
    """
    if type(error) is not ValueError:
        return None
    body: Any = error.args[0] if error.args else None
    if issubclass(type(body), str):  # not what says that it is: it may go on for ever
        body = str.__str__(body)
        if "content filter being triggered" in body:  # AzureChatOpenAI's sentence
            return "content_filter"
        codes: list[object] = [*_CODE_IN_TEXT.findall(body)]
    elif isinstance(body, Mapping):
        codes = [body.get("code"), body.get("type")]
    else:
        codes = [getattr(body, "code", None)]
    return next((known for code in codes if (known := by_code(str(code)))), None)


add_class_names(_BY_CLASS_NAME, before_codes=_BEFORE_CODES)
add_reader(_by_body)
add_control_flow("langgraph.errors", "GraphBubbleUp")
