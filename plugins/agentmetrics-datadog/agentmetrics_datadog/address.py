"""Where an Agent listens, by URL: the routes there, and the connections that they open."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from agentmetrics.plugin import (
    Connection,
    Datagrams,
    HostRoute,
    Route,
    Stream,
    without_password,
)

DEFAULT_PORT: Final = 8125
SOCKET_PACKET_BYTES: Final = 8192
"""What Datadog's documentation recommends for unix sockets; it is the Agent's buffer, too."""

FORMS: Final = "udp://host:8125, unix:///path/to/dsd.socket or unixstream:///path/to/dsd.socket"


def routes_to(url: str) -> Callable[[], Route]:
    """What makes a route to the Agent at ``url``.

    Raises ``ValueError``, with one sentence, for a URL that is none of ``FORMS``.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, or none that exists; a broken IPv6 address
        raise ValueError(_not_one(url)) from None
    if parts.scheme == "udp" and host and port != 0 and parts.path in ("", "/"):
        return partial(HostRoute, "DogStatsD", host, port or DEFAULT_PORT, "udp", _udp)
    connect = _SOCKETS.get(parts.scheme)
    if connect is None or host or not parts.path.strip("/"):
        raise ValueError(_not_one(url))
    return partial(UnixRoute, parts.path, connect)


def _not_one(url: str) -> str:
    return f"{without_password(url)!r} is no address of DogStatsD: write {FORMS}"


class UnixRoute(Route):
    """A unix socket by its path; an Agent that begins again makes another one there."""

    most_bytes = SOCKET_PACKET_BYTES

    def __init__(self, path: str, connect: Callable[[str, float], Connection]) -> None:
        self._path = path
        self._connect = connect

    def open(self, timeout: float) -> Connection:
        return self._connect(self._path, timeout)

    def sentence(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError):
            return f"there is no socket {self._path!r}, as the Agent makes one when it starts"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing is listening at the socket {self._path!r}: connection refused"
        return f"DogStatsD at the socket {self._path!r}: {self.reason(error)}"


class UnixDatagrams(Connection):
    """Datagrams whose loss shows at once, and which wait for an Agent that is busy."""

    is_atomic = True

    def send(self, packet: bytes) -> None:
        self._sock.send(packet)


class UnixStream(Stream):
    """Packets with their length before them."""

    def send(self, packet: bytes) -> None:
        self._sock.sendall(struct.pack("<I", len(packet)) + packet)


def _udp(address: str, port: int, timeout: float, ipv6: bool) -> Connection:
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    return Datagrams(_connected(family, socket.SOCK_DGRAM, (address, port), timeout))


def _unix_datagrams(path: str, timeout: float) -> Connection:
    return UnixDatagrams(_connected(socket.AF_UNIX, socket.SOCK_DGRAM, path, timeout))


def _unix_stream(path: str, timeout: float) -> Connection:
    return UnixStream(_connected(socket.AF_UNIX, socket.SOCK_STREAM, path, timeout))


_SOCKETS: Final = {
    "unix": _unix_datagrams,
    "unixgram": _unix_datagrams,
    "unixstream": _unix_stream,
}


def _connected(
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    address: str | tuple[str, int],
    timeout: float,
) -> socket.socket:
    made = socket.socket(family, kind)
    made.settimeout(timeout)
    try:
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made
