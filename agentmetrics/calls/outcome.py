"""How a call ended: its status and, when it is an error, the type of error."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

SUCCESS: Final = "success"
ERROR: Final = "error"
CANCELLED: Final = "cancelled"
INTERRUPTED: Final = "interrupted"

OTHER: Final = "other"
"""The ``error_type`` of errors of no known type."""

_CANCELLED = (
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    GeneratorExit,
    KeyboardInterrupt,
)

# By the names of classes in the error's ancestry, most telling first: langchain-core's
# ModelError family, then those of the openai and anthropic SDKs and of HTTP clients (botocore's
# and aiohttp's among them). By name, so that none of those packages is imported here.
_BY_CLASS_NAME: Final = {
    "BudgetExceeded": "budget_exceeded",
    "OpenAIRefusalError": "content_filter",
    "ContentFilterFinishReasonError": "content_filter",
    "ModelTimeoutError": "timeout",
    "APITimeoutError": "timeout",
    "TimeoutException": "timeout",
    "TimeoutError": "timeout",
    "ConnectTimeoutError": "timeout",
    "ReadTimeoutError": "timeout",
    "ServerTimeoutError": "timeout",
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
    "HTTPClientError": "connection",
    "ProtocolError": "connection",
    "ClientConnectionError": "connection",
    "ClientPayloadError": "connection",
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
    # Anthropic's error types: one in the middle of a stream comes with the status 200.
    "overloaded_error": "server_error",
    "api_error": "server_error",
    "rate_limit_error": "rate_limit",
    "timeout_error": "timeout",
    # Bedrock's exceptions: those in a stream have no status of their own.
    "ThrottlingException": "rate_limit",
    "ServiceQuotaExceededException": "rate_limit",
    "ModelTimeoutException": "timeout",
    "ModelNotReadyException": "server_error",
    "ModelErrorException": "server_error",
    "ModelStreamErrorException": "server_error",
    "InternalServerException": "server_error",
    "ServiceUnavailableException": "server_error",
    "ValidationException": "invalid_request",
}
_BY_HTTP_STATUS: Final = {
    401: "authentication",
    402: "rate_limit",  # out of credit, as OpenAI's insufficient_quota is
    403: "authentication",
    408: "timeout",
    429: "rate_limit",
    504: "timeout",
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


def is_interrupt(error: object) -> bool:
    """Whether ``error`` stops a LangGraph graph until it is resumed."""
    return _is_a(error, "langgraph.errors", "GraphInterrupt")


def error_type_of(error: BaseException) -> str:
    """The ``error_type`` label of an error; never its text.

    The provider's error code comes first, then the class, then the HTTP status: a context
    that is too long and a malformed request are both a 400.
    """
    names = [cls.__name__ for cls in type(error).__mro__]
    if "ContextOverflowError" in names:  # langchain-core's, which says more than Bedrock's code
        return "context_length"
    for code in _codes(error):
        if code in _BY_CODE:
            return _BY_CODE[code]
    for name in names:
        if name in _BY_CLASS_NAME:
            return _BY_CLASS_NAME[name]
    for status in _http_statuses(error):
        if 400 <= status < 600:  # an error can come in a 200
            return _by_http_status(status)
    return _by_body(error) if type(error) is ValueError else OTHER


def _codes(error: BaseException) -> Iterator[str]:
    """The words of a provider for what went wrong."""
    for code in (getattr(error, "code", None), getattr(error, "type", None)):
        if isinstance(code, str):
            yield code
    body = getattr(error, "body", None)  # groq's errors have their code there alone
    inner = body.get("error") if isinstance(body, Mapping) else None
    code = inner.get("code") if isinstance(inner, Mapping) else None
    if isinstance(code, str):
        yield code
    code = _botocore(error, "Error", "Code")
    if isinstance(code, str):
        yield code[:1].upper() + code[1:]  # small in a stream


def _http_statuses(error: BaseException) -> Iterator[int]:
    code = getattr(error, "code", None)
    for status in (
        getattr(error, "status_code", None),
        getattr(getattr(error, "response", None), "status_code", None),
        # google-genai's; and OpenRouter's, through openai, in a stream that began with 200
        int(code) if isinstance(code, str) and code.isdecimal() else code,
        _botocore(error, "ResponseMetadata", "HTTPStatusCode"),
    ):
        if isinstance(status, int):
            yield status


def _by_http_status(status: int) -> str:
    by_default = "server_error" if status >= 500 else "invalid_request"
    return _BY_HTTP_STATUS.get(status, by_default)


def _botocore(error: BaseException, part: str, name: str) -> Any:
    """From the ``response`` of a botocore ``ClientError``, which is plain data."""
    response = getattr(error, "response", None)
    found = response.get(part) if isinstance(response, dict) else None
    return found.get(name) if isinstance(found, dict) else None


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
        if code.isdecimal() and 400 <= int(code) < 600:
            return _by_http_status(int(code))
    return OTHER


def _is_a(error: object, module: str, name: str) -> bool:
    """Whether ``error`` is an instance of a class of a module that may not be there."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(error, cls)
