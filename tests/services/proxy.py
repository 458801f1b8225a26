"""A TCP proxy before PostgreSQL that breaks a connection off at its commit."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

COMMIT = b"COMMIT"


class Break:
    """What becomes of a commit, of which the client never hears in any case."""

    @staticmethod
    def before_it_arrives(commit: bytes, client: socket.socket, server: socket.socket) -> None:
        """The server never sees it, and undoes what came before."""

    @staticmethod
    def after_it_is_done(commit: bytes, client: socket.socket, server: socket.socket) -> None:
        """The server commits, and its answer is lost."""
        server.sendall(commit)
        server.recv(65536)

    @staticmethod
    def and_it_arrives_later(commit: bytes, client: socket.socket, server: socket.socket) -> None:
        """The client is told that the connection is gone while its transaction is still open."""
        client.shutdown(socket.SHUT_RDWR)
        time.sleep(0.5)
        server.sendall(commit)
        server.recv(65536)

    @staticmethod
    def in_silence(commit: bytes, client: socket.socket, server: socket.socket) -> None:
        """Nobody says anything for a while."""
        time.sleep(2.0)


class Proxy:
    """Passes bytes on, until it is told to break a connection."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.breaks_next: Callable[[bytes, socket.socket, socket.socket], None] | None = None
        self.broken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                threading.Thread(target=self._relay, args=(client, server), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                said = ready[0].recv(65536)
                if not said:
                    return
                if ready[0] is server:
                    client.sendall(said)
                elif self.breaks_next is not None and COMMIT in said:
                    break_, self.breaks_next = self.breaks_next, None
                    self.broken += 1
                    break_(said, client, server)
                    return
                else:
                    server.sendall(said)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
