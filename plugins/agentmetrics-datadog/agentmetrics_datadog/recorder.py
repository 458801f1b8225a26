"""The recorder: series aggregated in the process and flushed to DogStatsD every second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from agentmetrics.plugin import Changes, SendingRecorder, SendingStore
from agentmetrics_datadog import environment
from agentmetrics_datadog.address import routes_to
from agentmetrics_datadog.lines import DEFAULT_PROTOCOL, PROTOCOLS, entries, lines_for

if TYPE_CHECKING:
    from typing_extensions import Self

    from agentmetrics import Settings


class DogStatsDRecorder(SendingRecorder):
    """A recorder that sends to a Datadog Agent every ``flush_interval_seconds``.

    ``url`` is ``udp://host:port``, ``unix:///path`` (datagrams) or ``unixstream:///path``.
    ``prefix`` is the first part of every name and may contain dots. ``tags`` are on every series
    that has no label of that name itself. ``process_tag`` is the tag with the process' number on
    gauges of what goes on now, which are to be summed over it; empty for none. ``protocol`` is the
    newest version of the protocol that the other end understands: ``1.0``, ``1.1`` (several values
    in a line) or ``1.2`` (the container); ``container_id`` is what is sent as the container.
    Nothing is read from the environment here: that is what ``from_settings`` does.

    Raises ``ValueError`` on an argument that can never work.
    """

    backend = "datadog"
    daemon = "DogStatsD"

    def __init__(
        self,
        url: str = "udp://localhost:8125",
        *,
        prefix: str = "",
        tags: Mapping[str, str] | None = None,
        process_tag: str = "pid",
        protocol: str = DEFAULT_PROTOCOL,
        container_id: str = "",
        flush_interval_seconds: float = 1.0,
    ) -> None:
        route = routes_to(url)
        if protocol not in PROTOCOLS:
            raise ValueError(
                f"the DogStatsD protocol is {protocol!r}; use one of {', '.join(PROTOCOLS)}"
            )
        self._packs_values = protocol != "1.0"
        container = container_id if protocol == "1.2" else ""
        store = SendingStore(lines_for(prefix, tags or {}, process_tag, container))
        super().__init__(store, route, flush_interval_seconds)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """One as Datadog's ``DD_…`` variables describe it, and ``AGENTMETRICS_DATADOG_…``."""
        read = environment.read(settings)
        return cls(
            read.url,
            prefix=read.prefix,
            tags=read.tags,
            process_tag=read.process_tag,
            protocol=read.protocol,
            container_id=read.container_id,
            flush_interval_seconds=read.flush_interval_seconds,
        )

    def entries(self, changes: Changes) -> Iterator[str]:
        most_bytes = self._delivery.route.most_bytes
        return entries(changes, most_bytes if self._packs_values else 0)
