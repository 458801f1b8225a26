"""The way to a StatsD daemon: packets, and a connection that counts its losses and never raises."""

from __future__ import annotations

import encodings.idna  # noqa: F401
import errno
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing

from statsd import StatsClient, TCPStatsClient

# The codec is imported above because the first name that is resolved would else do it, in a
# thread; a fork in the middle of that leaves the child without it for ever.

MAX_PACKET_BYTES = 1432
"""What StatsD's documentation recommends for Ethernet."""
TIMEOUT_SECONDS = 2.0
"""For resolving, for connecting, for one write, and for everything that one ``send`` writes."""
REFUSAL_SECONDS = 0.5
"""How long a probe waits for a host to refuse a datagram."""

Addresses = list[tuple[int, str]]  # family and numeric address


def packets(entries: Iterable[str]) -> Iterator[str]:
    """Entries joined by newlines into packets of at most 1432 bytes, none of them torn."""
    # The statsd package's own pipeline tears apart the two lines of a negative gauge.
    packet: list[str] = []
    size = 0
    for entry in entries:
        if packet and size + len(entry) > MAX_PACKET_BYTES:
            yield "\n".join(packet)
            packet, size = [], 0
        packet.append(entry)
        size += len(entry) + 1
    if packet:
        yield "\n".join(packet)


class Datagrams(StatsClient):  # type: ignore[misc]
    """The package's UDP client on a connected socket, so that a daemon that is away shows."""

    def __init__(self, address: str, port: int, timeout: float, *, ipv6: bool) -> None:
        super().__init__(address, port, ipv6=ipv6)
        self._sock.settimeout(timeout)
        try:
            self._sock.connect(self._addr)
        except OSError:
            self.close()
            raise

    def _send(self, data: str) -> None:
        self._sock.send(data.encode("ascii"))  # the package's own swallows the error

    def check(self) -> None:
        """Raise what the kernel has heard about datagrams that were sent before."""
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def probe(self) -> None:
        """Send an empty datagram, which says nothing to a daemon, and raise if it is refused."""
        self._send("")
        self._sock.settimeout(REFUSAL_SECONDS)
        try:
            self._sock.recv(1)
        except TimeoutError:
            return


class Stream(TCPStatsClient):  # type: ignore[misc]
    """The package's TCP client, connected."""

    def __init__(self, address: str, port: int, timeout: float, *, ipv6: bool) -> None:
        super().__init__(address, port, timeout=timeout, ipv6=ipv6)
        try:
            self.connect()
        except OSError:
            self.close()
            raise

    def check(self) -> None:
        """Raise when the daemon has hung up: what is written after that is lost unseen."""
        self._sock.setblocking(False)
        try:
            if not self._sock.recv(1024):
                raise ConnectionResetError(errno.ECONNRESET, "the daemon closed the connection")
        except BlockingIOError:
            return
        finally:
            self._sock.settimeout(self._timeout)

    def probe(self) -> None:
        """Raise if the daemon hung up at once."""
        self.check()


PROTOCOLS: dict[str, type[Datagrams | Stream]] = {"udp": Datagrams, "tcp": Stream}


class Delivery:
    """Packets to one daemon. It connects when there is something to send, and again after failures.

    Not safe for several threads at once. ``failures`` are the errors since they were last cleared.
    """

    def __init__(self, host: str, port: int, protocol: str) -> None:
        self.failures: list[OSError] = []
        self._host, self._port, self._protocol = host, port, protocol
        self._client: Datagrams | Stream | None = None
        self._lookup: Future[Addresses] | None = None
        self._deadline = 0.0
        self._connects_left = 0

    def send(self, entries: Sequence[str]) -> int:
        """Send what can be sent; returns how many packets were lost, now or since the last time."""
        self._deadline = time.monotonic() + TIMEOUT_SECONDS
        self._connects_left = 2  # one, and one more when it fails on the way
        lost = self._lost_before()
        fitting = [entry for entry in entries if len(entry) <= MAX_PACKET_BYTES]
        if len(fitting) < len(entries):
            self.failures.append(OSError(errno.EMSGSIZE, "a metric name is longer than a packet"))
            lost += len(entries) - len(fitting)
        if fitting and self._client is None:
            self._connect()
        return lost + sum(map(self._send, packets(fitting)))

    def _lost_before(self) -> int:
        if self._client is None:
            return 0
        try:
            self._client.check()
        except OSError as error:
            self._fail(error)
            # A refusal is about a datagram; what a closed connection swallowed nobody knows.
            return 1 if self._protocol == "udp" else 0
        return 0

    def _send(self, packet: str) -> int:
        if self._client is None or time.monotonic() > self._deadline:
            return 1
        try:
            self._client._send(packet)
        except ConnectionRefusedError as error:
            # Linux reports a refused datagram at the next send, which it then does not perform.
            self.failures.append(error)
            return 1 + self._send(packet)
        except OSError as error:
            self._fail(error)
            self._connect()  # for the next packet: part of this one may have arrived
            return 1
        return 0

    def _fail(self, error: OSError) -> None:
        self.failures.append(error)
        self.close()

    def _connect(self) -> None:
        if not self._connects_left or time.monotonic() > self._deadline:
            return
        self._connects_left -= 1
        try:
            self._client = self._open(TIMEOUT_SECONDS)
        except OSError as error:
            self.failures.append(error)

    def _open(self, timeout: float) -> Datagrams | Stream:
        family, address = self._resolve(timeout)[0]
        opened = PROTOCOLS[self._protocol]
        return opened(address, self._port, timeout, ipv6=family == socket.AF_INET6)

    def _resolve(self, timeout: float) -> Addresses:
        if self._lookup is None:
            self._lookup = look_up(self._host, self._port)
        wait([self._lookup], timeout)
        if not self._lookup.done():
            # The answer, when it comes, is for the next time: no thread is added to one that waits.
            raise TimeoutError(f"the name server did not answer within {timeout:g} s")
        lookup, self._lookup = self._lookup, None
        return lookup.result()

    def close(self) -> None:
        """Close the socket; the next ``send`` resolves and connects anew."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def probe(self, timeout_seconds: float) -> str | None:
        """Open a connection of its own; ``None`` when it is fine, else what is wrong."""
        try:
            with closing(self._open(timeout_seconds)) as client:
                client.probe()
        except OSError as error:
            return self.sentence(error)
        return None

    def sentence(self, error: OSError) -> str:
        """What an error means to the one who set the host and port."""
        where = f"{self._host}:{self._port}"
        protocol = self._protocol.upper()
        if isinstance(error, socket.gaierror):
            return f"the StatsD host {self._host!r} does not resolve"
        if isinstance(error, ConnectionRefusedError):
            return f"nothing is listening at {where} over {protocol}: connection refused"
        reason = error.strerror or str(error) or type(error).__name__
        return f"StatsD at {where} over {protocol}: {reason}"


def look_up(host: str, port: int) -> Future[Addresses]:
    """The addresses of a host, IPv4 first, as the daemon listens by default."""
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
