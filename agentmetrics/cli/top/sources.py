"""Where ``top`` reads: URLs of /metrics, and multiprocess directories."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener, getproxies_environment

from agentmetrics.budget.ledger.url import without_password
from agentmetrics.live.samples import Snapshot, Unreadable, from_exposition, names_wanted

ANSWER_SECONDS = 30.0
"""How long a source may say nothing at all: thousands of agents take some to write."""
READ_SECONDS = 60.0
"""How long its answer may take to arrive."""
MAX_BYTES = 256 * 1024 * 1024
"""The most that an answer may have: 5 000 agents have about half of it."""
_SILENT = f"has not answered within {ANSWER_SECONDS:g} s"
_LOOPBACK = re.compile(r"localhost|127(?:\.\d+){3}|::1")
_ACCEPT = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5"
_WITHOUT_SCHEME = re.compile(
    r"(?:[\w.-]+|\[[0-9A-Fa-f:]+\])?:\d+(?:/.*)?|localhost(?:/.*)?", re.ASCII
)


class Unreachable(Exception):  # noqa: N818 - what the source is
    """A source that says nothing, or nothing of ours; the message says why."""


class BadAnswer(Unreachable):
    """It has answered, but with nothing of ours."""


class Source(Protocol):
    """What can be asked for a snapshot again and again."""

    @property
    def name(self) -> str:
        """As it may be shown."""

    def read(self) -> Snapshot:
        """Raises ``Unreachable``."""


def source_of(text: str) -> Source:
    """The source that somebody has named. Raises ``ValueError`` for what is none."""
    if Path(text).is_dir():
        return Directory(text)
    address = text if "://" in text else f"http://{text}"
    if "://" not in text and not _WITHOUT_SCHEME.fullmatch(text):
        raise ValueError(
            f"{text!r} is neither a directory nor a URL: pass one such as "
            "http://127.0.0.1:9464/metrics, or the directory that processes write to"
        )
    if address.startswith("http://:"):
        address = address.replace("http://:", "http://127.0.0.1:", 1)
    try:
        parts = urlsplit(address)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no port, or no address between brackets
        is_whole = False
    if not is_whole:
        raise ValueError(
            f"{without_password(text)!r} is no URL that can be read: use http or https, as in "
            "http://127.0.0.1:9464/metrics"
        )
    if parts.path in ("", "/"):
        address = parts._replace(path="/metrics").geturl()
    return Url(address)


@dataclass(unsafe_hash=True)
class Url:
    """``/metrics`` of a program; a user and a password in the URL are sent as basic
    authentication.

    It is asked only for what is shown, which costs the program less. Where that brings nothing, it
    is asked for everything, which tells whether it has a namespace.
    """

    address: str
    _names: Sequence[str] = field(default_factory=names_wanted, compare=False, repr=False)

    @property
    def name(self) -> str:
        return without_password(self.address)

    def read(self) -> Snapshot:
        if self._names:
            with suppress(BadAnswer):
                return from_text(self._fetched(urlencode([("name[]", n) for n in self._names])))
        text = self._fetched()
        found, names = from_text(text), names_wanted(text)
        # Who has these names and did not give them does not understand.
        self._names = names if self._names and names != self._names else ()
        return found

    def _fetched(self, query: str = "") -> str:
        parts = urlsplit(self.address)
        place = parts.netloc.rpartition("@")[2]
        asked = "&".join(filter(None, (parts.query, query)))
        request = Request(parts._replace(netloc=place, query=asked, fragment="").geturl())
        request.add_header("Accept", _ACCEPT)
        request.add_header("User-Agent", "agentmetrics-top")
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            said = base64.b64encode(pair.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {said}")
        is_here = _LOOPBACK.fullmatch(parts.hostname or "") is not None
        opener = build_opener(ProxyHandler({} if is_here else getproxies_environment()))
        until = time.monotonic() + READ_SECONDS
        try:
            with opener.open(request, timeout=ANSWER_SECONDS) as answer:
                body = _read(answer, until)
        except HTTPError as error:
            with error:
                raise BadAnswer(f"answers {error.code} {error.reason}") from None
        except (TimeoutError, socket.timeout):  # noqa: UP041 - two classes before Python 3.10
            raise Unreachable(_SILENT) from None
        except URLError as error:
            raise Unreachable(_why(error.reason)) from None
        except http.client.IncompleteRead:
            raise Unreachable("answers with an exposition that is cut off") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(_why(error)) from None
        return body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Directory:
    """prometheus-client's files of several processes."""

    path: str

    @property
    def name(self) -> str:
        return self.path

    def read(self) -> Snapshot:
        from prometheus_client import CollectorRegistry, generate_latest

        from agentmetrics.backends.multiprocess import MultiprocessCollector

        registry = CollectorRegistry()
        try:
            registry.register(MultiprocessCollector(self.path))
            text = generate_latest(registry).decode()
        except ValueError:
            raise Unreachable("must be a directory that you can write to, to tidy up") from None
        except OSError as error:
            raise Unreachable(error.strerror or type(error).__name__) from None
        if not text:
            raise Unreachable("has no metrics yet")
        return from_text(text)


def from_text(text: str) -> Snapshot:
    """The snapshot of now in an exposition. Raises ``Unreachable`` if it is none of ours."""
    try:
        return from_exposition(text, time.time())
    except Unreadable as error:
        raise BadAnswer(f"answers with {error}") from None


def _read(answer: http.client.HTTPResponse, until: float) -> bytes:
    """The whole answer, in time: what comes byte by byte keeps nobody waiting for ever."""
    found, size = [], 0
    while chunk := answer.read1(1 << 20):
        found.append(chunk)
        size += len(chunk)
        if time.monotonic() > until:
            raise Unreachable(f"takes more than {READ_SECONDS:g} s to answer")
        if size > MAX_BYTES:
            raise Unreachable(f"answers with more than {MAX_BYTES >> 20} MiB")
    if answer.length:  # which read1 does not mind
        raise Unreachable("answers with an exposition that is cut off")
    return b"".join(found)


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
