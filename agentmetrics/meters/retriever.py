"""Retriever queries as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.calls.facts import RetrieverQuery
from agentmetrics.meters.base import Instruments


class RetrieverMeter:
    """The instruments of retriever queries."""

    def __init__(self, make: Instruments) -> None:
        self._named = make.named
        self.queries = make.counter(catalog.RETRIEVER_QUERIES)
        self.duration = make.histogram(catalog.RETRIEVER_QUERY_DURATION)
        self.documents = make.histogram(catalog.RETRIEVER_DOCUMENTS)
        self._step = make.recorder.update()

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
