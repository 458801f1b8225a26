"""A websocket of an ASGI application, from its request to its end."""

from __future__ import annotations

from time import perf_counter

from agentmetrics.plugin import notice_fork
from agentmetrics_asgi.meter import CANCELLED, ERROR, REJECTED, SUCCESS, WebsocketMeter
from agentmetrics_asgi.request import Message, Receive, Scope, Send, Site


class Connection:
    """A connection, which hands on every message, and is recorded once the application is done.

    Either side may close it; that is a success.
    """

    __slots__ = (
        "_is_accepted",
        "_is_left",
        "_meter",
        "_path",
        "_receive",
        "_scope",
        "_send",
        "_site",
        "_started",
    )

    def __init__(
        self,
        site: Site,
        meter: WebsocketMeter,
        scope: Scope,
        receive: Receive,
        send: Send,
        path: str,
    ) -> None:
        self._site, self._meter, self._scope, self._path = site, meter, scope, path
        self._receive, self._send = receive, send
        self._is_accepted = self._is_left = False
        self._started = perf_counter()

    async def receive(self) -> Message:
        """The application's channel from the client."""
        message = await self._receive()
        if message.get("type") == "websocket.disconnect":
            self._is_left = True
        return message

    async def send(self, message: Message) -> None:
        """The application's channel to the client."""
        await self._send(message)
        if not self._is_accepted and message.get("type") == "websocket.accept":
            self._is_accepted = True
            notice_fork()
            self._meter.open.add(self)

    def ended(self, error: BaseException | None) -> None:
        """The application has returned, or raised ``error``."""
        ended = perf_counter()
        try:
            self._meter.open.discard(self)
            endpoint = self._site.endpoint(self._scope, self._path)
            if endpoint is not None:
                self._meter.record(endpoint, self._status(error), ended - self._started)
        except Exception as problem:
            self._site.failed(problem)

    def _status(self, error: BaseException | None) -> str:
        if error is None:
            return SUCCESS if self._is_accepted else REJECTED
        if not isinstance(error, Exception):
            return CANCELLED
        # What Starlette and Litestar raise where a handler reads on after the client has left.
        is_leaving = any(cls.__name__ == "WebSocketDisconnect" for cls in type(error).__mro__)
        return SUCCESS if self._is_left and is_leaving else ERROR
