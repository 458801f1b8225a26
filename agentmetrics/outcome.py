"""How a call ended: its status and, when it is an error, the type of error."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
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
}
_BY_HTTP_STATUS: Final = {
    401: "authentication",
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
    by_code = _BY_CODE.get(code) if isinstance(code := getattr(error, "code", None), str) else None
    if by_code:
        return by_code
    for cls in type(error).__mro__:
        if cls.__name__ in _BY_CLASS_NAME:
            return _BY_CLASS_NAME[cls.__name__]
    return _by_http_status(error)


def _by_http_status(error: BaseException) -> str:
    status = getattr(error, "status_code", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(status, int):
        return "other"
    if status >= 500:
        return "server_error"
    return _BY_HTTP_STATUS.get(status, "invalid_request" if status >= 400 else "other")


def _is_a(error: BaseException, module: str, name: str) -> bool:
    """Whether ``error`` is an instance of a class of a module that may not be there."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(error, cls)
