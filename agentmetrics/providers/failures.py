"""Errors that come in a response or a stream, where no SDK raises them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from agentmetrics.providers.fields import Path, field, first_of


class ErrorInResponse(Exception):  # noqa: N818 - not an error of ours
    """An error that a response is; ``code`` is the provider's for it, or an HTTP status."""

    def __init__(self, code: object = None) -> None:
        super().__init__(code)
        self.code = code


_MOST_NAMES = 100
"""What only says that it is a mapping may have names without end."""


def failure_of(response: object) -> ErrorInResponse | None:
    """The error that a response, or an event of a stream, is; ``None`` for any other."""
    if field(response, "type") == "error" or _is_error(field(response, "error")):
        return ErrorInResponse(first_of(response, _CODES))
    if isinstance(response, Mapping):
        for name in islice(response, _MOST_NAMES):
            if isinstance(name, str) and name.endswith("Exception"):  # Bedrock's, in a stream
                return ErrorInResponse(name[:1].upper() + name[1:])
    return None


def response_of(error: BaseException) -> Any:
    """The response that an SDK's or a framework's error carries; ``None`` without one.

    It was billed, and then something was found wrong with it: OpenAI's ``LengthFinishReasonError``
    and ``ContentFilterFinishReasonError`` (https://github.com/openai/openai-python/blob/main/
    helpers.md), Instructor's retries that gave up (https://python.useinstructor.com/concepts/
    retrying), a body that an SDK could not validate.
    """
    return first_of(error, _CARRIED)


_CARRIED: tuple[Path, ...] = (
    ("completion",),
    ("last_completion",),
    ("body",),
    ("response",),
    ("raw_response",),
)


def _is_error(error: object) -> bool:
    if isinstance(error, str | Mapping):
        return bool(error)
    return isinstance(field(error, "message"), str)  # an SDK's object, and not a mock of one


_CODES: tuple[Path, ...] = (
    ("error", "code"),  # OpenAI's, Gemini's, OpenRouter's
    ("error", "type"),  # Anthropic's
    ("code",),
)
