"""One request and its response, as far as its metrics go: for ASGI and WSGI alike."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Protocol

from agentmetrics.plugin import notice_fork

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)
"""RFC 9110 and 5789; every other method is ``other``."""
OTHER = "other"
FAILED = "500"
CLIENT_WENT = "499"
"""What nginx calls a client that closed the request; it is no error."""

_STATUSES = {code: str(code) for code in range(100, 600)}
_MAX_DIGITS = 18


class Meter(Protocol):
    """What an exchange needs of the meter of requests."""

    open: set[Exchange]

    def tell_first_byte(self, exchange: Exchange, endpoint: str) -> None: ...
    def record(self, exchange: Exchange, endpoint: str, ended: float) -> None: ...


class Exchange:
    """What is known of a request so far; ``time.perf_counter`` is its clock.

    A response is a *stream* when its length is not known when it begins and it comes in more than
    one part, or when it is ``text/event-stream``.
    """

    __slots__ = (
        "_head",
        "first_byte",
        "is_complete",
        "is_first_byte_told",
        "is_over",
        "is_stream",
        "length",
        "meter",
        "method",
        "received",
        "sent",
        "started",
        "status",
    )

    def __init__(self, meter: Meter, method: object) -> None:
        self.meter = meter
        self.method = method if isinstance(method, str) and method in METHODS else OTHER
        self.status = ""
        self.received = 0
        """Bytes of the request's body."""
        self.sent = 0
        """Bytes of the response's body."""
        self.first_byte = 0.0
        """When the body's first byte was sent; 0 before."""
        self.is_first_byte_told = False
        self.length: int | None = None
        """The response's ``Content-Length``, once it was needed."""
        self.is_stream = False
        self.is_complete = False
        """Whether the whole response went out."""
        self.is_over = False
        self._head: Iterable[tuple[bytes | str, bytes | str]] | None = None
        self.started = perf_counter()
        notice_fork()
        meter.open.add(self)

    def answer(self, status: object, head: Iterable[tuple[bytes | str, bytes | str]]) -> None:
        """The response begins, with these headers."""
        self.status = _STATUSES.get(status, OTHER) if isinstance(status, int) else OTHER
        self._head = head

    def part(self, size: int, has_more: bool) -> bool:
        """A part of the response's body goes out; whether it is the last one."""
        if has_more and self._head is not None:
            self.read_head()
        if size:
            if not self.sent:
                self.first_byte = perf_counter()
            elif self.length is None:  # the head was read with the first part
                self.is_stream = True
            self.sent += size
        if not has_more or (self.length is not None and self.sent >= self.length > 0):
            self.is_complete = True
        return self.is_complete

    def read_head(self) -> None:
        """See what the response's headers say about its length, and whether it is a stream."""
        head, self._head = self._head, None
        for name, value in head or ():
            name, value = _text(name).lower(), _text(value)
            if name == "content-length":
                self.length = length_of(value)
            elif name == "content-type":
                media = value.partition(";")[0].strip().lower()
                self.is_stream = self.is_stream or media == "text/event-stream"

    def end(self, endpoint: str | None, ended: float) -> None:
        """It is over, and recorded unless ``endpoint`` is ``None``."""
        self.is_over = True
        self.meter.open.discard(self)
        if self.method == "HEAD":  # whose body no server sends
            self.sent = 0
        if endpoint is not None:
            self.meter.record(self, endpoint, ended)


def length_of(value: bytes | str) -> int | None:
    """A ``Content-Length``; ``None`` for what is none."""
    is_number = len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit()
    return int(value) if is_number else None


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
