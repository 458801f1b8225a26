"""The way of lines to a daemon: packets, and connections whose losses are counted, not raised."""

from __future__ import annotations

import encodings.idna  # noqa: F401
import errno
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from typing import ClassVar

# The codec is imported above because the first name that is resolved would else do it, in a
# thread; a fork in the middle of that leaves the child without it for ever.

UDP_PACKET_BYTES = 1432
"""What StatsD's documentation recommends for Ethernet, and Datadog's too."""
TIMEOUT_SECONDS = 2.0
"""For resolving, for connecting, for one write, and for everything that one ``send`` writes."""
REFUSAL_SECONDS = 0.5
"""How long a probe waits for a host to refuse a datagram."""

Addresses = list[tuple[int, str]]  # family and numeric address


def packets(entries: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    """Entries joined by newlines into packets of at most so many bytes, none of them torn."""
    packet: list[bytes] = []
    size = 0
    for entry in entries:
        if packet and size + len(entry) > most_bytes:
            yield b"\n".join(packet)
            packet, size = [], 0
        packet.append(entry)
        size += len(entry) + 1
    if packet:
        yield b"\n".join(packet)


class Connection(ABC):
    """A connected socket that takes packets. Its methods raise ``OSError``."""

    is_atomic: ClassVar[bool]
    """Whether a packet arrives whole or not at all, and may be sent again after an error."""
    refuses_late: ClassVar[bool] = False
    """Whether a refusal is about a packet that was sent before."""

    def __init__(self, connected: socket.socket) -> None:
        self._sock = connected

    @abstractmethod
    def send(self, packet: bytes) -> None: ...

    def check(self) -> None:  # noqa: B027
        """Raise what is known by now of packets that were sent before."""

    def probe(self) -> None:
        """Raise what shows on a new connection when nobody listens."""
        self.check()

    def close(self) -> None:
        self._sock.close()


class Datagrams(Connection):
    """UDP on a connected socket, so that a daemon that is away shows."""

    is_atomic = True
    refuses_late = True

    def send(self, packet: bytes) -> None:
        self._sock.send(packet)

    def check(self) -> None:
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def probe(self) -> None:
        """Send an empty datagram, which says nothing to a daemon, and raise if it is refused."""
        self.send(b"")
        self._sock.settimeout(REFUSAL_SECONDS)
        try:
            self._sock.recv(1)
        except TimeoutError:
            return


class Stream(Connection):
    """A stream of lines."""

    is_atomic = False

    def send(self, packet: bytes) -> None:
        self._sock.sendall(packet + b"\n")

    def check(self) -> None:
        """Raise when the daemon has hung up: what is written after that is lost unseen."""
        timeout = self._sock.gettimeout()
        self._sock.setblocking(False)
        try:
            if not self._sock.recv(1024):
                raise ConnectionResetError(errno.ECONNRESET, "the daemon closed the connection")
        except BlockingIOError:
            return
        finally:
            self._sock.settimeout(timeout)


class Route(ABC):
    """One way to one daemon, for one process: a child of a fork makes another."""

    most_bytes: int
    """The size of its largest packets."""

    @abstractmethod
    def open(self, timeout: float) -> Connection:
        """A new connection. Raises ``OSError``, at the latest after so many seconds."""

    @abstractmethod
    def sentence(self, error: OSError) -> str:
        """What an error means to the one who configured it."""

    @staticmethod
    def reason(error: OSError) -> str:
        """An error in words, for the end of a sentence."""
        return error.strerror or str(error) or type(error).__name__


class HostRoute(Route):
    """A host by name, and a port.

    ``connect`` takes a numeric address, the port and a timeout in seconds, and whether the address
    is one of IPv6; ``daemon`` and ``protocol`` are for sentences.
    """

    def __init__(
        self,
        daemon: str,
        host: str,
        port: int,
        protocol: str,
        connect: Callable[[str, int, float, bool], Connection],
        most_bytes: int = UDP_PACKET_BYTES,
    ) -> None:
        self.most_bytes = most_bytes
        self._daemon, self._host, self._port, self._protocol = daemon, host, port, protocol
        self._connect = connect
        self._lookup: Future[Addresses] | None = None

    def open(self, timeout: float) -> Connection:
        family, address = self._resolve(timeout)[0]
        return self._connect(address, self._port, timeout, family == socket.AF_INET6)

    def _resolve(self, timeout: float) -> Addresses:
        if self._lookup is None:
            self._lookup = look_up(self._host, self._port)
        wait([self._lookup], timeout)
        if not self._lookup.done():
            # The answer, when it comes, is for the next time: no thread is added to one that waits.
            raise TimeoutError(f"the name server did not answer within {timeout:g} s")
        lookup, self._lookup = self._lookup, None
        return lookup.result()

    def sentence(self, error: OSError) -> str:
        where = f"{self._host}:{self._port}"
        protocol = self._protocol.upper()
        if isinstance(error, socket.gaierror):
            return f"the {self._daemon} host {self._host!r} does not resolve"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing is listening at {where} over {protocol}: connection refused"
        return f"{self._daemon} at {where} over {protocol}: {self.reason(error)}"


class Delivery:
    """Packets to one daemon. It connects when there is something to send, and again after failures.

    Not safe for several threads at once. ``failures`` are the errors since they were last cleared.
    """

    def __init__(self, route: Route) -> None:
        self.failures: list[OSError] = []
        self.route = route
        self._connection: Connection | None = None
        self._deadline = 0.0
        self._connects_left = 0

    def send(self, entries: Sequence[str]) -> int:
        """Send what can be sent; returns how many packets were lost, now or since the last time."""
        self._deadline = time.monotonic() + TIMEOUT_SECONDS
        self._connects_left = 2  # one, and one more when it fails on the way
        lost = self._lost_before()
        encoded = [entry.encode() for entry in entries]
        fitting = [entry for entry in encoded if len(entry) <= self.route.most_bytes]
        if len(fitting) < len(encoded):
            self.failures.append(OSError(errno.EMSGSIZE, "a line is longer than a packet"))
            lost += len(encoded) - len(fitting)
        if fitting and self._connection is None:
            self._connect()
        return lost + sum(map(self._send, packets(fitting, self.route.most_bytes)))

    def _lost_before(self) -> int:
        if self._connection is None:
            return 0
        counts = self._connection.refuses_late
        try:
            self._connection.check()
        except OSError as error:
            self._fail(error)
            # A refusal is about a datagram; what a closed connection swallowed nobody knows.
            return 1 if counts else 0
        return 0

    def _send(self, packet: bytes) -> int:
        connection = self._connection
        if connection is None or time.monotonic() > self._deadline:
            return 1
        try:
            connection.send(packet)
        except OSError as error:
            if connection.refuses_late and isinstance(error, ConnectionRefusedError):
                # Linux reports a refused datagram at the next send, which it then does not perform.
                self.failures.append(error)
                return 1 + self._send(packet)
            self._fail(error)
            self._connect()
            # Of a stream, part of the packet may have arrived.
            return self._send(packet) if connection.is_atomic else 1
        return 0

    def _fail(self, error: OSError) -> None:
        self.failures.append(error)
        self.close()

    def _connect(self) -> None:
        if not self._connects_left or time.monotonic() > self._deadline:
            return
        self._connects_left -= 1
        try:
            self._connection = self.route.open(TIMEOUT_SECONDS)
        except OSError as error:
            self.failures.append(error)

    def close(self) -> None:
        """Close the socket; the next ``send`` connects anew."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def probe(self, timeout_seconds: float) -> str | None:
        """Open a connection of its own; ``None`` when it is fine, else what is wrong."""
        try:
            with closing(self.route.open(timeout_seconds)) as connection:
                connection.probe()
        except OSError as error:
            return self.route.sentence(error)
        return None


def look_up(host: str, port: int) -> Future[Addresses]:
    """The addresses of a host, IPv4 first, as daemons listen by default."""
    answer: Future[Addresses] = Future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.sort(key=lambda entry: entry[0] != socket.AF_INET)
            answer.set_result([(int(family), str(to[0])) for family, _, _, _, to in found])
        except OSError as error:
            answer.set_exception(error)
        except Exception as error:  # such as a name that cannot be written in DNS, `a..b`
            answer.set_exception(socket.gaierror(socket.EAI_NONAME, str(error)))

    try:
        # In a thread, because the system's resolver knows no timeout.
        threading.Thread(target=ask, name="agentmetrics-resolve", daemon=True).start()
    except RuntimeError:  # at exit, Python 3.12 starts no threads any more
        ask()
    return answer
