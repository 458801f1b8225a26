"""The connections to a server, each of which can be cut from another thread.

No driver gives up on a server that is there and does not answer, as one that is stopped is: its
kernel goes on acknowledging what is sent.
"""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Engine, event

from agentmetrics.recording.watchdog import watchdog


class Lines:
    """The sockets of the connections that an engine opens, for whoever opens them."""

    def __init__(self, engine: Engine) -> None:
        self._here = threading.local()
        event.listen(engine, "do_connect", self._connect)

    @property
    def _open(self) -> list[socket.socket]:
        """Those of this thread: what it opened in the transaction that it is in."""
        found: list[socket.socket] = self._here.__dict__.setdefault("open", [])
        return found

    def _connect(self, dialect: Any, record: Any, args: Any, kwargs: Any) -> Any:
        try:
            made = dialect.connect(*args, **kwargs)
        except BaseException as error:
            # An error of psycopg's holds its own frame, and that a connection which is half made
            # and stays open until the collector comes by.
            traceback.clear_frames(error.__traceback__)
            raise
        with suppress(OSError):
            self._note(socket.fromfd(made.fileno(), socket.AF_INET, socket.SOCK_STREAM))
        return made

    def _note(self, line: socket.socket) -> None:
        self._open.append(line)

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Cut the connections of this block when it takes longer: what waits there fails then."""
        lines = self._open
        try:
            with watchdog.limit(seconds, lambda: _cut(lines)):
                yield
        finally:
            self._done(lines)

    def _done(self, lines: list[socket.socket]) -> None:
        while lines:
            lines.pop().close()


class KeptLine(Lines):
    """The socket of the one connection that an engine keeps, for all threads, one at a time."""

    def __init__(self, engine: Engine) -> None:
        self._kept: list[socket.socket] = []
        super().__init__(engine)

    @property
    def _open(self) -> list[socket.socket]:
        return self._kept

    def _note(self, line: socket.socket) -> None:
        self.let_go()
        super()._note(line)

    def _done(self, lines: list[socket.socket]) -> None:
        """It is for the next block as well."""

    def let_go(self) -> None:
        """Forget it; the connection itself is left as it is."""
        super()._done(self._kept)


def _cut(lines: list[socket.socket]) -> None:
    for line in list(lines):
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
