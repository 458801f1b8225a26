"""The updates of one LLM call, delivered to DogStatsD: ours, and those of the ``datadog`` package.

Four counters and two distributions with three tags each. Measured is the CPU time of the whole
process, so that flushes and what their threads do are in it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from time import process_time

from datadog.dogstatsd.base import DogStatsd

from agentmetrics.catalog import (
    LLM_CALL_COST,
    LLM_CALLS,
    LLM_COST,
    LLM_LATENCY,
    LLM_TOKENS,
)
from agentmetrics_datadog import DogStatsDRecorder
from benchmarks.measure import Row, Timer, interleaved

BARE = "a function that records nothing"
OURS = "agentmetrics-datadog"
OURS_LABELS = "agentmetrics-datadog, `.labels()` at every update"
PEER = "datadog"
PEER_AGGREGATED = "datadog, with its aggregation on"

AGENT, PROVIDER, MODEL = CALL = ("planner", "openai", "gpt-4o-mini")
TAGS = [f"agent_name:{AGENT}", f"provider:{PROVIDER}", f"model:{MODEL}"]
CALLS_TO_A_FLUSH = 500
"""As many as both send every value of."""

Update = Callable[[float, float], None]
"""Takes what a call cost in USD, and its latency in seconds."""


def measure(rounds: int) -> Row:
    """One call's updates."""
    with ExitStack() as opened:
        sink = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sink.bind(("127.0.0.1", 0))  # nobody reads: what does not fit is dropped by the system
        port = sink.getsockname()[1]
        recorders = [DogStatsDRecorder(f"udp://127.0.0.1:{port}") for _ in range(2)]
        for recorder in recorders:
            opened.enter_context(closing(recorder))
        plain = DogStatsd("127.0.0.1", port)
        aggregating = DogStatsd("127.0.0.1", port, disable_aggregation=False)
        for peer in (plain, aggregating):
            opened.callback(peer.stop)
        timers = {
            BARE: _timer(lambda cost, seconds: None, lambda: None),
            OURS: _timer(_bound(recorders[0]), recorders[0].flush),
            OURS_LABELS: _timer(_labelled(recorders[1]), recorders[1].flush),
            PEER: _timer(_by_the_peer(plain), plain.flush),
            PEER_AGGREGATED: _timer(
                _by_the_peer(aggregating), lambda: _flush_aggregated(aggregating)
            ),
        }
        return interleaved(timers, loops=CALLS_TO_A_FLUSH, rounds=rounds)


def _timer(update: Update, flush: Callable[[], object]) -> Timer:
    def timer(loops: int) -> float:
        began = process_time()
        for number in range(loops):
            update(0.0001 * number, 0.001 * number)
        flush()
        return process_time() - began

    return timer


def _bound(recorder: DogStatsDRecorder) -> Update:
    """As our meters do it: series are bound once, and their updates are one step."""
    step = recorder.update()
    tokens = recorder.counter(LLM_TOKENS)
    apply = recorder.batch(
        (
            recorder.counter(LLM_CALLS).labels(*CALL, "success"),
            tokens.labels(*CALL, "input"),
            tokens.labels(*CALL, "output"),
            recorder.counter(LLM_COST).labels(*CALL),
        ),
        (),
        (
            recorder.histogram(LLM_CALL_COST).labels(*CALL),
            recorder.histogram(LLM_LATENCY).labels(*CALL),
        ),
    )

    def update(cost: float, seconds: float) -> None:
        with step:
            apply(1, 412, 87, cost, cost, seconds)

    return update


def _labelled(recorder: DogStatsDRecorder) -> Update:
    """As a program may do it by hand."""
    calls, tokens = recorder.counter(LLM_CALLS), recorder.counter(LLM_TOKENS)
    total, costs = recorder.counter(LLM_COST), recorder.histogram(LLM_CALL_COST)
    latencies = recorder.histogram(LLM_LATENCY)

    def update(cost: float, seconds: float) -> None:
        calls.labels(*CALL, "success").inc()
        tokens.labels(*CALL, "input").inc(412)
        tokens.labels(*CALL, "output").inc(87)
        total.labels(*CALL).inc(cost)
        costs.labels(*CALL).observe(cost)
        latencies.labels(*CALL).observe(seconds)

    return update


def _by_the_peer(statsd: DogStatsd) -> Update:
    """As its documentation shows it: a list of tags with every update."""
    success, inputs, outputs = (
        [*TAGS, tag] for tag in ("status:success", "token_type:input", "token_type:output")
    )

    def update(cost: float, seconds: float) -> None:
        statsd.increment("llm_calls_total", tags=success)
        statsd.increment("llm_tokens_total", 412, tags=inputs)
        statsd.increment("llm_tokens_total", 87, tags=outputs)
        statsd.increment("llm_cost_usd_total", cost, tags=TAGS)
        statsd.distribution("llm_call_cost_usd", cost, tags=TAGS)
        statsd.distribution("llm_latency_seconds", seconds, tags=TAGS)

    return update


def _flush_aggregated(statsd: DogStatsd) -> None:
    statsd.flush_aggregated_metrics()
    statsd.flush()
