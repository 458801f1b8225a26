"""How a call ended: its status and, when it is an error, the type of error."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Final

SUCCESS: Final = "success"
ERROR: Final = "error"
CANCELLED: Final = "cancelled"
INTERRUPTED: Final = "interrupted"

_CANCELLED = (
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    GeneratorExit,
    KeyboardInterrupt,
)

# By the names of classes in the error's ancestry, most telling first: langchain-core's
# ModelError family, then those of the openai and anthropic SDKs and of HTTP clients. By name,
# so that none of those packages is imported here.
_BY_CLASS_NAME: Final = {
    "BudgetExceeded": "budget_exceeded",
    "ContextOverflowError": "context_length",
    "OpenAIRefusalError": "content_filter",
    "ContentFilterFinishReasonError": "content_filter",
    "ModelTimeoutError": "timeout",
    "APITimeoutError": "timeout",
    "TimeoutException": "timeout",
    "TimeoutError": "timeout",
    "ModelRateLimitError": "rate_limit",
    "RateLimitError": "rate_limit",
    "ModelAuthenticationError": "authentication",
    "ModelPermissionDeniedError": "authentication",
    "AuthenticationError": "authentication",
    "PermissionDeniedError": "authentication",
    "ModelConnectionError": "connection",
    "APIConnectionError": "connection",
    "TransportError": "connection",
    "ConnectionError": "connection",
    "ModelNotFoundError": "invalid_request",
    "ModelInvalidRequestError": "invalid_request",
    "InternalServerError": "server_error",
}
_BY_CODE: Final = {
    "context_length_exceeded": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "rate_limit_exceeded": "rate_limit",
    "insufficient_quota": "rate_limit",
    "invalid_prompt": "invalid_request",
    "server_error": "server_error",
}
_BY_HTTP_STATUS: Final = {
    401: "authentication",
    402: "rate_limit",  # out of credit, as OpenAI's insufficient_quota is
    403: "authentication",
    408: "timeout",
    429: "rate_limit",
}


def status_of(error: BaseException) -> str:
    """``cancelled`` for a cancelled task or a closed stream, ``interrupted`` for LangGraph's
    control flow (any ``GraphBubbleUp``), else ``error``.

    A group of errors is what all of its members are; a mixed one is an ``error``.
    """
    if isinstance(error, _CANCELLED) or _is_a(error, "trio", "Cancelled"):
        return CANCELLED
    if _is_a(error, "langgraph.errors", "GraphBubbleUp"):
        return INTERRUPTED
    members = getattr(error, "exceptions", ())
    if isinstance(members, tuple) and members:
        statuses = {status_of(member) for member in members}
        return statuses.pop() if len(statuses) == 1 else ERROR
    return ERROR


def error_type_of(error: BaseException) -> str:
    """The ``error_type`` label of an error; never its text.

    The provider's error code comes first, then the class, then the HTTP status: a context
    that is too long and a malformed request are both a 400.
    """
    for code in _codes(error):
        if isinstance(code, str) and code in _BY_CODE:
            return _BY_CODE[code]
    for cls in type(error).__mro__:
        if cls.__name__ in _BY_CLASS_NAME:
            return _BY_CLASS_NAME[cls.__name__]
    for status in _http_statuses(error):
        return _by_http_status(status)
    return _by_body(error) if type(error) is ValueError else "other"


def _codes(error: BaseException) -> Iterator[object]:
    yield getattr(error, "code", None)
    yield getattr(error, "type", None)
    body = getattr(error, "body", None)  # groq's errors have their code there alone
    inner = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(inner, Mapping):
        yield inner.get("code")


def _http_statuses(error: BaseException) -> Iterator[int]:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int) and status >= 400:  # an error can come in a 200
            yield status
    code = getattr(error, "code", None)  # OpenRouter's, in a stream that began with 200
    if isinstance(code, str) and code.isdecimal():
        yield int(code)


def _by_http_status(status: int) -> str:
    if status >= 500:
        return "server_error"
    return _BY_HTTP_STATUS.get(status, "invalid_request" if status >= 400 else "other")


# Of "server_error: …", "ResponseError(code='server_error', …)" and "… (code: 502)".
_CODE_IN_TEXT: Final = re.compile(r"^\w+(?=: )|(?<=\bcode=')\w+|(?<=\(code: )\w+")


def _by_body(error: ValueError) -> str:
    """What langchain-openai and langchain-openrouter make of an error in the body of a 200.

    It is a plain ``ValueError`` of the error object or of a sentence with its code.
    """
    told: object = error.args[0] if error.args else None
    if isinstance(told, str):
        if "content filter being triggered" in told:  # AzureChatOpenAI's sentence
            return "content_filter"
        codes: list[object] = [*_CODE_IN_TEXT.findall(told)]
    elif isinstance(told, Mapping):
        codes = [told.get("code"), told.get("type")]
    else:
        codes = [getattr(told, "code", None)]
    for code in map(str, codes):
        if code in _BY_CODE:
            return _BY_CODE[code]
        if code.isdecimal():
            return _by_http_status(int(code))
    return "other"


def _is_a(error: BaseException, module: str, name: str) -> bool:
    """Whether ``error`` is an instance of a class of a module that may not be there."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(error, cls)
