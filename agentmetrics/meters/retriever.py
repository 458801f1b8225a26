"""Retriever queries as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.calls.facts import RetrieverQuery
from agentmetrics.meters.base import Instruments
from agentmetrics.recording.recorder import Recorder


class RetrieverMeter:
    """The instruments of retriever queries."""

    def __init__(self, recorder: Recorder) -> None:
        make = Instruments(recorder)
        self.queries = make.counter(catalog.RETRIEVER_QUERIES)
        self.duration = make.histogram(catalog.RETRIEVER_QUERY_DURATION)
        self.documents = make.histogram(catalog.RETRIEVER_DOCUMENTS)
        self._step = recorder.update()

    def record(self, query: RetrieverQuery) -> None:
        """Record a finished query, all of it in one step."""
        key = (query.agent_name, query.retriever)
        with self._step:
            self.queries.labels(*key, query.status, *query.extra).inc()
            self.duration.labels(*key, *query.extra).observe(query.ended - query.started)
            if query.documents is not None:
                self.documents.labels(*key, *query.extra).observe(query.documents)
