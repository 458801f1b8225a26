"""Why a call failed: the ``error_type`` of providers' errors, never their text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from agentmetrics.recording.metric import classes_of, name_of

OTHER: Final = "other"
"""The ``error_type`` of errors of no known type."""

# By the names of classes in the error's ancestry: those of the openai and anthropic SDKs and of
# HTTP clients (botocore's and aiohttp's among them). By name, so that no package is imported here.
_by_class_name = {
    "BudgetExceeded": "budget_exceeded",
    "ContentFilterFinishReasonError": "content_filter",
    "APITimeoutError": "timeout",
    "TimeoutException": "timeout",
    "TimeoutError": "timeout",
    "ConnectTimeoutError": "timeout",
    "ReadTimeoutError": "timeout",
    "ServerTimeoutError": "timeout",
    "RateLimitError": "rate_limit",
    "AuthenticationError": "authentication",
    "PermissionDeniedError": "authentication",
    "APIConnectionError": "connection",
    "TransportError": "connection",
    "ConnectionError": "connection",
    "HTTPClientError": "connection",
    "ProtocolError": "connection",
    "ClientConnectionError": "connection",
    "ClientPayloadError": "connection",
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


Reader = Callable[[BaseException], "str | None"]
"""Tells the type of an error that nothing else tells; ``None`` where it cannot."""

_first_names: dict[str, str] = {}
_readers: list[Reader] = []


def add_class_names(types: Mapping[str, str], *, before_codes: Mapping[str, str] = {}) -> None:
    """Add the error types of a framework's exceptions, by the names of their classes.

    ``before_codes`` are those that say more than the provider's code does.
    """
    _by_class_name.update(types)
    _first_names.update(before_codes)


def add_reader(read: Reader) -> None:
    """Ask ``read`` about the errors whose class, code and status say nothing."""
    _readers.append(read)


def error_type_of(error: BaseException) -> str:
    """The ``error_type`` label of an error; never its text.

    The provider's error code comes first, then the class, then the HTTP status: a context
    that is too long and a malformed request are both a 400.
    """
    names = [*map(name_of, classes_of(error))]
    for name in names:
        if name in _first_names:
            return _first_names[name]
    for code in _codes(error):
        if code in _BY_CODE:
            return _BY_CODE[code]
    for name in names:
        if name in _by_class_name:
            return _by_class_name[name]
    for status in _http_statuses(error):
        if 400 <= status < 600:  # an error can come in a 200
            return by_http_status(status)
    return next((told for read in _readers if (told := read(error))), OTHER)


def by_code(code: str) -> str | None:
    """The type of a provider's code for what went wrong, or of an HTTP status as text."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    return by_http_status(int(code)) if code.isdecimal() and 400 <= int(code) < 600 else None


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


def by_http_status(status: int) -> str:
    by_default = "server_error" if status >= 500 else "invalid_request"
    return _BY_HTTP_STATUS.get(status, by_default)


def _botocore(error: BaseException, part: str, name: str) -> Any:
    """From the ``response`` of a botocore ``ClientError``, which is plain data."""
    response = getattr(error, "response", None)
    found = response.get(part) if isinstance(response, dict) else None
    return found.get(name) if isinstance(found, dict) else None
