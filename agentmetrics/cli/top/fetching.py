"""What a program answers over HTTP, in bounds and in time, or in a few words why it does not."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import time
from http import HTTPStatus
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener, getproxies_environment

ANSWER_SECONDS = 30.0
"""How long a source may say nothing at all: thousands of agents take some to write."""
READ_SECONDS = 60.0
"""How long its answer may take to arrive."""
_SILENT = f"has not answered within {ANSWER_SECONDS:g} s"
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|::1")
_ACCEPT = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5"


class Unreachable(Exception):  # noqa: N818 - what the source is
    """A source that says nothing, or nothing of ours; the message says why."""


class BadAnswer(Unreachable):
    """It has answered, but with nothing of ours."""


def fetched(address: str, query: str, max_bytes: int, token: str = "") -> bytes:
    """The answer of an address, with a query added to its own. Raises ``Unreachable``.

    A user and a password in the address are sent as basic authentication, else ``token`` as bearer
    if there is one.
    """
    parts = urlsplit(address)
    place = parts.netloc.rpartition("@")[2]
    asked = "&".join(filter(None, (parts.query, query)))
    request = Request(parts._replace(netloc=place, query=asked, fragment="").geturl())
    request.add_header("Accept", _ACCEPT)
    request.add_header("User-Agent", "agentmetrics-top")
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        said = base64.b64encode(pair.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {said}")
    elif token:
        said = token.encode().decode("latin-1")  # as headers are encoded
        request.add_unredirected_header("Authorization", f"Bearer {said}")
    is_here = _LOOPBACK.fullmatch(parts.hostname or "") is not None
    opener = build_opener(ProxyHandler({} if is_here else getproxies_environment()))
    until = time.monotonic() + READ_SECONDS
    try:
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            return _read(answer, until, max_bytes)
    except HTTPError as error:
        with error:
            raise BadAnswer(_refusal(error.code)) from None
    except (TimeoutError, socket.timeout):  # noqa: UP041 - two classes before Python 3.10
        raise Unreachable(_SILENT) from None
    except URLError as error:
        raise Unreachable(_why(error.reason)) from None
    except http.client.IncompleteRead:
        raise Unreachable("answers with an exposition that is cut off") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(_why(error)) from None


def _read(answer: http.client.HTTPResponse, until: float, max_bytes: int) -> bytes:
    """The whole answer, in time: what comes byte by byte keeps nobody waiting for ever."""
    found, size = [], 0
    while chunk := answer.read1(1 << 20):
        found.append(chunk)
        size += len(chunk)
        if time.monotonic() > until:
            raise Unreachable(f"takes more than {READ_SECONDS:g} s to answer")
        if size > max_bytes:
            raise Unreachable(f"answers with more than {max_bytes >> 20} MiB")
    if answer.length:  # which read1 does not mind
        raise Unreachable("answers with an exposition that is cut off")
    return b"".join(found)


def _refusal(code: int) -> str:
    """What a status means in the words of HTTP, whatever words the server has for it."""
    if 300 <= code < 400:  # urllib follows those that lead anywhere
        return f"answers {code}, a redirect that leads nowhere"
    known = {status.value: f" {status.phrase}" for status in HTTPStatus}
    return f"answers {code}{known.get(code, '')}"


def _why(reason: object) -> str:
    if isinstance(reason, TimeoutError | socket.timeout):
        return _SILENT
    if isinstance(reason, ConnectionRefusedError):
        return "refuses connections: nothing listens there"
    if isinstance(reason, socket.gaierror):
        return "has a host name that does not resolve"
    if isinstance(reason, ConnectionError | http.client.RemoteDisconnected):
        return "has closed the connection"
    if isinstance(reason, OSError) and reason.strerror:
        return f"cannot be reached: {reason.strerror}"
    return f"cannot be read ({type(reason).__name__})"
