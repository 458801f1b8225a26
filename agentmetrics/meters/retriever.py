"""Retriever queries as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.calls.facts import RetrieverQuery
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.bundle import Bundles


class RetrieverMeter:
    """The instruments of retriever queries."""

    def __init__(self, make: Instruments) -> None:
        self._named = make.named
        self.queries = make.counter(catalog.RETRIEVER_QUERIES)
        self.duration = make.histogram(catalog.RETRIEVER_QUERY_DURATION)
        self.documents = make.histogram(catalog.RETRIEVER_DOCUMENTS)
        self._step = make.recorder.update()

        self._expected = Bundles(self._zeros)

    def expect(self, query: RetrieverQuery) -> None:
        """Show 0 queries of this retriever, with any status, from now on."""
        self._expected[(query.agent_name, query.retriever, query.extra)]

    def _zeros(self, agent_name: str, retriever: str, extra: tuple[str, ...]) -> bool:
        own = {"agent_name": agent_name, "retriever": retriever, **self._named(extra)}
        for status in catalog.STATUSES:
            self.queries.labels(**own, status=status)
        return True

    def record(self, query: RetrieverQuery) -> None:
        """Record a finished query, all of it in one step."""
        own = {
            "agent_name": query.agent_name,
            "retriever": query.retriever,
            **self._named(query.extra),
        }
        with self._step:
            self.queries.labels(**own, status=query.status).inc()
            self.duration.labels(**own).observe(query.ended - query.started)
            if query.documents is not None:
                self.documents.labels(**own).observe(query.documents)
