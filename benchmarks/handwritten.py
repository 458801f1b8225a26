"""The yardsticks: handlers that an expert would write by hand with prometheus-client."""

from __future__ import annotations

from time import monotonic, perf_counter
from typing import Any, NamedTuple
from uuid import UUID

import psutil
from genai_prices import Usage, calc_price
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from agentmetrics.catalog import (
    CALL,
    CHUNK_BUCKETS,
    COST_BUCKETS,
    ERROR_TYPES,
    FIRST_TOKEN_BUCKETS,
    LATENCY_BUCKETS,
    STATUSES,
    TOKEN_SPEED_BUCKETS,
)

MIB = 1024 * 1024
DETAILS = {
    "input_token_details": (
        ("cache_read", "cache_read"),
        ("cache_creation", "cache_creation"),
        ("audio", "audio_input"),
    ),
    "output_token_details": (("reasoning", "reasoning"), ("audio", "audio_output")),
}


class NoopHandler(BaseCallbackHandler):
    """Hears every event of a model and does nothing: what no handler can be cheaper than."""

    run_inline = True

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None: ...
    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None: ...
    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None: ...


class Metrics:
    """The metrics that agentmetrics records for a call, with the same labels and buckets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, labels: tuple[str, ...]) -> Counter:
            return Counter(name, name, labels, registry=registry)

        def gauge(name: str, labels: tuple[str, ...], mode: Any = "livemostrecent") -> Gauge:
            return Gauge(name, name, labels, registry=registry, multiprocess_mode=mode)

        def histogram(name: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, name, labels, registry=registry, buckets=buckets)

        self.calls = counter("llm_calls_total", (*CALL, "status"))
        self.errors = counter("llm_errors_total", (*CALL, "error_type"))
        self.tokens = counter("llm_tokens_total", (*CALL, "token_type"))
        self.token_details = counter("llm_token_details_total", (*CALL, "token_detail"))
        self.cost = counter("llm_cost_usd_total", CALL)
        self.call_cost = histogram("llm_call_cost_usd", CALL, COST_BUCKETS)
        self.latency = histogram("llm_latency_seconds", CALL, LATENCY_BUCKETS)
        self.api_latency = histogram(
            "llm_api_latency_seconds", ("agent_name", "provider"), LATENCY_BUCKETS
        )
        self.first_token = histogram("llm_time_to_first_token_seconds", CALL, FIRST_TOKEN_BUCKETS)
        self.per_token = histogram("llm_time_per_output_token_seconds", CALL, TOKEN_SPEED_BUCKETS)
        self.chunk_gap = histogram("llm_time_between_chunks_seconds", CALL, CHUNK_BUCKETS)
        self.served = counter("llm_served_calls_total", ("provider", "model", "served_model"))
        self.finish_reasons = counter("llm_finish_reasons_total", (*CALL, "finish_reason"))
        self.active = gauge("llm_active_calls", ("agent_name", "provider"), "livesum")
        self.input_last_call = gauge("llm_input_tokens_last_call", CALL)
        self.output_last_call = gauge("llm_output_tokens_last_call", CALL)
        self.memory_rss = gauge("llm_memory_rss_bytes", ("agent_name",))
        self.memory_rss_mb = gauge("llm_memory_rss_mb", ("agent_name",))

    def show_zeros(self, key: tuple[str, str, str]) -> None:
        """Let what may come begin at 0, for alerts to see the first increment."""
        for status in STATUSES:
            self.calls.labels(*key, status)
        for error_type in ERROR_TYPES:
            self.errors.labels(*key, error_type)


class Children(NamedTuple):
    """The bound children of one (agent, provider, model), served model and finish reason."""

    calls: Counter
    input_tokens: Counter
    output_tokens: Counter
    cost: Counter
    call_cost: Histogram
    latency: Histogram
    api_latency: Histogram
    input_last_call: Gauge
    output_last_call: Gauge
    memory_rss: Gauge
    memory_rss_mb: Gauge
    served: Counter
    finish_reasons: Counter

    @classmethod
    def bind(
        cls, metrics: Metrics, key: tuple[str, str, str], served: str, finish_reason: str
    ) -> Children:
        agent, provider, model = key
        return cls(
            metrics.calls.labels(*key, "success"),
            metrics.tokens.labels(*key, "input"),
            metrics.tokens.labels(*key, "output"),
            metrics.cost.labels(*key),
            metrics.call_cost.labels(*key),
            metrics.latency.labels(*key),
            metrics.api_latency.labels(agent, provider),
            metrics.input_last_call.labels(*key),
            metrics.output_last_call.labels(*key),
            metrics.memory_rss.labels(agent),
            metrics.memory_rss_mb.labels(agent),
            metrics.served.labels(provider, model, served),
            metrics.finish_reasons.labels(*key, finish_reason),
        )


class Run:
    """One call in flight."""

    __slots__ = (
        *("active", "agent", "first_token", "last_chunk", "longest_gap", "model", "provider"),
        "started",
    )

    def __init__(self, agent: str, provider: str, model: str, active: Gauge) -> None:
        self.agent = agent
        self.provider = provider
        self.model = model
        self.active = active
        self.first_token = self.last_chunk = self.longest_gap = 0.0
        self.started = perf_counter()


def agent_of(metadata: dict[str, Any]) -> str:
    return metadata.get("agent_name") or metadata.get("lc_agent_name") or "unknown"


class Rss:
    """Resident memory, read at most every 100 ms."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._next_read = 0.0
        self._bytes = 0

    def bytes(self) -> int:
        now = monotonic()
        if now >= self._next_read:
            self._next_read = now + 0.1
            self._bytes = self._process.memory_info().rss
        return self._bytes


class HandwrittenHandler(BaseCallbackHandler):
    """A careful handler: children bound once per label set, one look-up a call, cached rates."""

    run_inline = True

    def __init__(self, registry: CollectorRegistry) -> None:
        self._metrics = Metrics(registry)
        self._runs: dict[UUID, Run] = {}
        self._active: dict[tuple[str, str], Gauge] = {}
        self._children: dict[tuple[str, ...], Children] = {}
        self._of_streams: dict[tuple[str, str, str], tuple[Histogram, Histogram, Histogram]] = {}
        self._rates: dict[tuple[str, str], tuple[float, float, float]] = {}
        self._rss = Rss()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        metadata = metadata or {}
        agent = agent_of(metadata)
        provider = metadata.get("ls_provider", "unknown")
        key = (agent, provider)
        active = self._active.get(key)
        if active is None:
            active = self._active[key] = self._metrics.active.labels(*key)
        active.inc()
        self._runs[run_id] = Run(agent, provider, metadata.get("ls_model_name", "unknown"), active)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.get(run_id)
        if run is None:
            return
        now = perf_counter()
        if not run.first_token:
            run.first_token = now
        elif now - run.last_chunk > run.longest_gap:
            run.longest_gap = now - run.last_chunk
        run.last_chunk = now

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        ended = perf_counter()
        seconds = ended - run.started
        generation: Any = response.generations[0][0]
        message = generation.message
        key = (run.agent, run.provider, run.model)
        metadata = message.response_metadata
        served = metadata.get("model_name") or run.model
        reason = metadata.get("finish_reason") or "other"
        bound = (*key, served, reason)
        children = self._children.get(bound)
        if children is None:
            self._metrics.show_zeros(key)
            children = Children.bind(self._metrics, key, served, reason)
            self._children[bound] = children
        run.active.dec()
        children.calls.inc()
        children.served.inc()
        children.finish_reasons.inc()
        children.latency.observe(seconds)
        children.api_latency.observe(seconds)
        rss = self._rss.bytes()
        children.memory_rss.set(rss)
        children.memory_rss_mb.set(rss / MIB)
        usage = message.usage_metadata
        if usage is not None:
            input_tokens, output_tokens = usage["input_tokens"], usage["output_tokens"]
            children.input_tokens.inc(input_tokens)
            children.output_tokens.inc(output_tokens)
            children.input_last_call.set(input_tokens)
            children.output_last_call.set(output_tokens)
            cost = self._cost(run.provider, served, usage)
            children.cost.inc(cost)
            children.call_cost.observe(cost)
            self._details(key, usage)
            if run.first_token:
                self._streamed(key, run, ended, output_tokens)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.active.dec()
            key = (run.agent, run.provider, run.model)
            self._metrics.calls.labels(*key, "error").inc()
            self._metrics.errors.labels(*key, type(error).__name__).inc()

    def _details(self, key: tuple[str, str, str], usage: Any) -> None:
        for side, names in DETAILS.items():
            details = usage.get(side)
            if details:
                for name, token_detail in names:
                    if details.get(name):
                        counter = self._metrics.token_details.labels(*key, token_detail)
                        counter.inc(details[name])

    def _streamed(
        self, key: tuple[str, str, str], run: Run, ended: float, output_tokens: int
    ) -> None:
        children = self._of_streams.get(key)
        if children is None:
            metrics = self._metrics
            children = (
                metrics.first_token.labels(*key),
                metrics.per_token.labels(*key),
                metrics.chunk_gap.labels(*key),
            )
            self._of_streams[key] = children
        first_token, per_token, chunk_gap = children
        first_token.observe(run.first_token - run.started)
        if output_tokens > 1:
            per_token.observe((ended - run.first_token) / (output_tokens - 1))
        if run.longest_gap:
            chunk_gap.observe(run.longest_gap)

    def _cost(self, provider: str, model: str, usage: dict[str, Any]) -> float:
        rates = self._rates.get((provider, model))
        if rates is None:
            rates = self._rates[provider, model] = per_token_rates(provider, model)
        cached: int = usage.get("input_token_details", {}).get("cache_read") or 0
        input_tokens: int = usage["input_tokens"]
        output_tokens: int = usage["output_tokens"]
        return (input_tokens - cached) * rates[0] + cached * rates[1] + output_tokens * rates[2]


class LabelsEachTimeHandler(HandwrittenHandler):
    """The same, as it is mostly written: ``.labels(...)`` at every update."""

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        metadata = metadata or {}
        agent = agent_of(metadata)
        provider = metadata.get("ls_provider", "unknown")
        active = self._metrics.active.labels(agent_name=agent, provider=provider)
        active.inc()
        self._runs[run_id] = Run(agent, provider, metadata.get("ls_model_name", "unknown"), active)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        metrics, ended = self._metrics, perf_counter()
        seconds = ended - run.started
        generation: Any = response.generations[0][0]
        message = generation.message
        metadata = message.response_metadata
        served = metadata.get("model_name") or run.model
        few = {"agent_name": run.agent, "provider": run.provider}
        call = {**few, "model": run.model}
        metrics.active.labels(**few).dec()
        metrics.calls.labels(**call, status="success").inc()
        metrics.served.labels(provider=run.provider, model=run.model, served_model=served).inc()
        reason = metadata.get("finish_reason") or "other"
        metrics.finish_reasons.labels(**call, finish_reason=reason).inc()
        metrics.latency.labels(**call).observe(seconds)
        metrics.api_latency.labels(**few).observe(seconds)
        rss = self._rss.bytes()
        metrics.memory_rss.labels(agent_name=run.agent).set(rss)
        metrics.memory_rss_mb.labels(agent_name=run.agent).set(rss / MIB)
        usage = message.usage_metadata
        if usage is not None:
            input_tokens, output_tokens = usage["input_tokens"], usage["output_tokens"]
            metrics.tokens.labels(**call, token_type="input").inc(input_tokens)
            metrics.tokens.labels(**call, token_type="output").inc(output_tokens)
            metrics.input_last_call.labels(**call).set(input_tokens)
            metrics.output_last_call.labels(**call).set(output_tokens)
            cost = self._cost(run.provider, served, usage)
            metrics.cost.labels(**call).inc(cost)
            metrics.call_cost.labels(**call).observe(cost)
            self._details((run.agent, run.provider, run.model), usage)
            if run.first_token:
                first_token = run.first_token - run.started
                metrics.first_token.labels(**call).observe(first_token)
                if output_tokens > 1:
                    per_token = (ended - run.first_token) / (output_tokens - 1)
                    metrics.per_token.labels(**call).observe(per_token)
                if run.longest_gap:
                    metrics.chunk_gap.labels(**call).observe(run.longest_gap)


def per_token_rates(provider: str, model: str) -> tuple[float, float, float]:
    """USD for one fresh input token, one that was read from the cache, and one output token."""

    def price(**counts: int) -> float:
        price = calc_price(Usage(**counts), model, provider_id=provider)
        return float(price.total_price)

    n = 1_000_000
    return (
        price(input_tokens=n, output_tokens=0) / n,
        price(input_tokens=n, cache_read_tokens=n, output_tokens=0) / n,
        price(input_tokens=0, output_tokens=n) / n,
    )
