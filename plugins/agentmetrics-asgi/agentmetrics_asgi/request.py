"""An HTTP request of an ASGI application: what is heard and said on its two channels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, Protocol

from anyio import CancelScope

from agentmetrics_asgi.exchange import CLIENT_WENT, FAILED, Exchange, length_of
from agentmetrics_asgi.meter import HTTPMeter

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOOK_AFTER_SECONDS = 0.1
"""A client that is answered sooner is not asked whether it is still there."""
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Site(Protocol):
    """What a request asks of the middleware that it came to."""

    def endpoint(self, scope: Scope, path: str) -> str | None:
        """The endpoint of a request; ``None`` for one that is excluded."""

    def failed(self, problem: Exception) -> None:
        """Count what went wrong."""


class Request(Exchange):
    """A request, which hands on every message, and is recorded once its response is complete."""

    __slots__ = (
        "_heard",
        "_is_gone",
        "_is_listening",
        "_is_read",
        "_path",
        "_receive",
        "_scope",
        "_send",
        "_site",
    )

    def __init__(
        self, site: Site, meter: HTTPMeter, scope: Scope, receive: Receive, send: Send, path: str
    ) -> None:
        super().__init__(meter, scope["method"])
        self._site, self._scope, self._path = site, scope, path
        self._receive, self._send = receive, send
        self._heard: list[Message] = []
        """What was received before the application asked for it."""
        self._is_read = self.method in _BODILESS
        self._is_listening = False
        self._is_gone = False

    async def receive(self) -> Message:
        """The application's channel from the client."""
        if self._heard:
            message = self._heard.pop(0)
        else:
            self._is_listening = True
            try:
                message = await self._receive()
            finally:
                self._is_listening = False
        try:
            if message["type"] == "http.disconnect":
                self._is_gone = True
            else:
                self.received += len(message.get("body", b""))
                self._is_read = not message.get("more_body", False)
        except Exception as problem:
            self._site.failed(problem)
        return message

    async def send(self, message: Message) -> None:
        """The application's channel to the client."""
        is_last = False
        if not self.is_over:
            try:
                is_last = self._say(message)
                if is_last and perf_counter() - self.started > LOOK_AFTER_SECONDS:
                    await self._look()
            except Exception as problem:
                self._site.failed(problem)
        try:
            await self._send(message)
        except OSError:  # as servers say, by the specification, that nobody is there any more
            self._is_gone = True
            raise
        if is_last:
            self._end()

    def ended(self, error: BaseException | None) -> None:
        """The application has returned, or raised ``error``; a response may be complete long since,
        and was cut off if it is not."""
        if not self.is_over:
            self.status = FAILED
            if error is not None and not isinstance(error, Exception):  # it was cancelled
                self._is_gone = True
            self._end()

    def _say(self, message: Message) -> bool:
        """See what goes out; whether the response is complete with it."""
        kind = message["type"]
        if kind == "http.response.body":
            has_more = message.get("more_body", False)
            is_last = self.part(len(message.get("body", b"")), has_more)
            if self.first_byte and has_more and not self.is_first_byte_told:
                self._tell_first_byte()
            return is_last
        if kind == "http.response.start":
            self.answer(message["status"], message.get("headers", ()))
        elif kind == "http.response.pathsend":
            self.read_head()
            return self.part(self.length or 0, has_more=False)
        return False

    def _tell_first_byte(self) -> None:
        endpoint = self._site.endpoint(self._scope, self._path)
        if endpoint is not None and (self.is_stream or self.length is None):
            self.meter.tell_first_byte(self, endpoint)

    async def _look(self) -> None:
        """See whether the client has gone while the application was at work.

        Servers drop what is sent to nobody, and few applications ask. What is received here is kept
        for the application.
        """
        if not self._is_read or self._is_listening:
            return
        for _ in range(2):  # an empty body that nobody asked for, and the disconnect
            message = None
            with CancelScope() as scope:
                scope.cancel()  # nothing is waited for
                message = await self._receive()
            if message is None:
                return
            self._heard.append(message)
            if message["type"] == "http.disconnect":
                self._is_gone = True
                return

    def _end(self) -> None:
        ended = perf_counter()
        try:
            if not self.is_complete:
                self.read_head()  # a stream may have had no part yet
            if self._is_gone:
                self.status = CLIENT_WENT
            if not self._is_read:
                self.received = max(self.received, self._declared())
            self.end(self._site.endpoint(self._scope, self._path), ended)
        except Exception as problem:
            self._site.failed(problem)

    def _declared(self) -> int:
        """Bytes of the request's body as the client said, whether or not they were read."""
        for name, value in self._scope.get("headers", ()):
            if name == b"content-length":
                return length_of(value) or 0
        return 0
