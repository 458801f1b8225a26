"""One attempt to hand a message to a URL over HTTP, and whether another may be made."""

from __future__ import annotations

import time
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request

from pydantic import SecretStr

from agentmetrics._http import opener

TIMEOUT_SECONDS = 10.0
"""How long it waits for a connection, and then for an answer."""
_TOO_MANY_REQUESTS = 429


class Undelivered(Exception):  # noqa: N818 - what became of the message
    """Why, in words without the URL; ``may_retry`` where the receiver does not have it.

    ``wait_seconds`` is how long the receiver asks to be left alone.
    """

    def __init__(self, reason: str, *, may_retry: bool, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.may_retry, self.wait_seconds = may_retry, wait_seconds


def post(url: SecretStr, body: bytes) -> None:
    """Send JSON to ``url``, through the proxy that the environment names, following no redirect.

    Raises ``Undelivered``. Where no answer comes once the request is sent, the receiver may have
    the message, and so it is not to be sent again.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "agentmetrics"}
    request = Request(url.get_secret_value(), body, headers, method="POST")
    failed = _attempt(request)
    if failed is not None:  # by itself: the errors that it comes from may quote the URL
        raise failed


def _attempt(request: Request) -> Undelivered | None:
    try:
        opener().open(request, timeout=TIMEOUT_SECONDS).close()
    except HTTPError as error:
        with error:
            return Undelivered(
                f"it answered with status {error.code}",
                may_retry=error.code == _TOO_MANY_REQUESTS or error.code >= 500,
                wait_seconds=_wait_seconds(error.headers),
            )
    except URLError as error:  # before all of it was sent
        return Undelivered(f"it cannot be reached ({type(error.reason).__name__})", may_retry=True)
    except (OSError, HTTPException) as error:
        return Undelivered(f"it did not answer ({type(error).__name__})", may_retry=False)
    return None


def _wait_seconds(headers: Message[str, str]) -> float:
    """What ``Retry-After`` asks for: a number of seconds, or a date."""
    said = headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said[:9])
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
