"""Connections to a StatsD daemon, made by the statsd package's clients."""

from __future__ import annotations

from statsd import StatsClient, TCPStatsClient

from agentmetrics.backends.delivery import Connection, Datagrams, Stream


def udp(address: str, port: int, timeout: float, ipv6: bool) -> Connection:
    client = StatsClient(address, port, ipv6=ipv6)
    client._sock.settimeout(timeout)
    try:
        client._sock.connect(client._addr)
    except OSError:
        client.close()
        raise
    return Datagrams(client._sock)


def tcp(address: str, port: int, timeout: float, ipv6: bool) -> Connection:
    client = TCPStatsClient(address, port, timeout=timeout, ipv6=ipv6)
    try:
        client.connect()
    except OSError:
        client.close()
        raise
    return Stream(client._sock)


PROTOCOLS = {"udp": udp, "tcp": tcp}
