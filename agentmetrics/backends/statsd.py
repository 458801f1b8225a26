"""The StatsD backend: series aggregated in the process and flushed to a daemon every second."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

from agentmetrics.backends.changes import Changes, SendingStore
from agentmetrics.backends.delivery import HostRoute
from agentmetrics.backends.sending import SendingRecorder
from agentmetrics.backends.statsd_connections import PROTOCOLS
from agentmetrics.backends.statsd_lines import DIALECTS, Timer, entries, lines_for

if TYPE_CHECKING:
    from typing_extensions import Self


class StatsDSettings(Protocol):
    """The fields of ``agentmetrics.Settings`` that are StatsD's."""

    @property
    def statsd_host(self) -> str: ...
    @property
    def statsd_port(self) -> int: ...
    @property
    def statsd_prefix(self) -> str: ...
    @property
    def statsd_protocol(self) -> str: ...
    @property
    def statsd_flush_interval(self) -> float: ...
    @property
    def statsd_dialect(self) -> str: ...


class StatsDRecorder(SendingRecorder):
    """A recorder that sends to a StatsD daemon every ``flush_interval_seconds``.

    ``prefix`` is the first part of every name and may contain dots; ``protocol`` is ``udp`` or
    ``tcp``; ``dialect`` is the server, which decides the type of histograms: ``etsy`` for the
    original daemon, ``statsd_exporter``, ``telegraf`` or ``datadog``. Nothing is resolved or
    connected here: an unreachable daemon, now or later, is logged once and its packets are counted
    in ``agentmetrics_packets_dropped_total``. The thread starts with the first series. Unsent
    values are sent at ``close`` and when the program ends.

    Raises ``ValueError`` on an argument that can never work.
    """

    backend = "statsd"
    daemon = "StatsD"

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8125,
        prefix: str = "",
        protocol: str = "udp",
        flush_interval_seconds: float = 1.0,
        dialect: str = "etsy",
    ) -> None:
        _check(host, port, protocol, dialect)
        route = partial(HostRoute, self.daemon, host, port, protocol, PROTOCOLS[protocol])
        store = SendingStore(lines_for(prefix, dialect), Timer)
        super().__init__(store, route, flush_interval_seconds)

    @classmethod
    def from_settings(cls, settings: StatsDSettings) -> Self:
        return cls(
            settings.statsd_host,
            settings.statsd_port,
            settings.statsd_prefix,
            settings.statsd_protocol,
            settings.statsd_flush_interval,
            settings.statsd_dialect,
        )

    def entries(self, changes: Changes) -> Iterator[str]:
        return entries(changes)


def _check(host: str, port: int, protocol: str, dialect: str) -> None:
    if not host:
        raise ValueError("the StatsD host is empty")
    if (
        not set("@/= ").isdisjoint(host) or not host.isprintable()
    ):  # not shown: it may hold a password
        raise ValueError("the StatsD host must be a name or an address, such as 'localhost'")
    if not 1 <= port <= 65535:
        raise ValueError(f"the StatsD port is {port}; it must be a number from 1 to 65535")
    if protocol not in PROTOCOLS:
        raise ValueError(f"the StatsD protocol is {protocol!r}; use {' or '.join(PROTOCOLS)}")
    if dialect not in DIALECTS:
        raise ValueError(f"the StatsD dialect is {dialect!r}; use one of {', '.join(DIALECTS)}")
