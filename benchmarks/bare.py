"""The floor: the same additions to plain slots under one lock, and nothing around them.

No price but two constants, no check of usage, no attribution, no cleaning, no layers, no other
ending than success, nothing that reads the slots. What agentmetrics costs above this is what it
does besides adding.
"""

from __future__ import annotations

import threading
import weakref
from time import perf_counter
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from agentmetrics.catalog import LATENCY_BUCKETS
from agentmetrics.recording.batches import slots_batch
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.store import (
    Store,
    StoredCounter,
    StoredGauge,
    StoredHistogram,
)

COUNTER = Metric("bare_total", "counter", "bare")
GAUGE = Metric("bare", "gauge", "bare")
HISTOGRAM = Metric("bare_seconds", "histogram", "bare", buckets=LATENCY_BUCKETS)


class _Call(weakref.ref):
    __slots__ = ("agent", "model", "provider", "started")

    agent: str
    provider: str
    model: str
    started: float


class BareHandler(BaseCallbackHandler):
    """Start and end of a call by the shortest way, abandoned calls noted as ours are."""

    run_inline = True

    def __init__(self) -> None:
        self._store = Store()
        self._open: dict[int, Any] = {}
        self._series: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.RLock()
        self._note = self._abandoned

    def _abandoned(self, call: Any) -> None: ...

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, metadata: Any = None, **kwargs: Any
    ) -> None:
        call = _Call(run_id, self._note)
        call.agent = metadata.get("agent_name")
        call.provider = metadata.get("ls_provider")
        call.model = metadata.get("ls_model_name")
        call.started = perf_counter()
        self._open[run_id.int] = call

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        call = self._open.pop(run_id.int)
        message = response.generations[0][0].message
        usage = message.usage_metadata
        metadata = message.response_metadata
        served, reason = metadata.get("model_name"), metadata.get("finish_reason")
        key = (call.agent, call.provider, call.model, served, reason)
        add = self._series.get(key)
        if add is None:
            add = self._series[key] = self._bound()
        tokens_in, tokens_out = usage.get("input_tokens"), usage.get("output_tokens")
        cost = tokens_in * 1e-7 + tokens_out * 1e-6
        seconds = perf_counter() - call.started
        with self._lock:
            add(
                1.0, 1.0, 1.0, tokens_in, tokens_out, cost,
                tokens_in, tokens_out, 1.0, 1.0, seconds, seconds, cost,
            )  # fmt: skip

    def _bound(self) -> Any:
        return slots_batch(6, 4, 3)(
            *(StoredCounter(self._store, COUNTER, ()) for _ in range(6)),
            *(StoredGauge(self._store, GAUGE, ()) for _ in range(4)),
            *(StoredHistogram(self._store, HISTOGRAM, ()) for _ in range(3)),
        )
