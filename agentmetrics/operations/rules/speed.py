"""Alerts on calls and streams that are slow."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, quantile
from agentmetrics.operations.rules.samples import CALL, histogram

_BY = "job, agent_name, provider, model"
_OF = {"job": "app", "agent_name": "planner", "provider": "openai", "model": "gpt-4o"}


ALERTS = (
    Alert(
        name="ModelSlow",
        severity="warning",
        when="the 95th percentile of the latency of an agent's calls to a model is above "
        "60 seconds over 15 minutes; with at least 10 calls",
        condition=quantile(0.95, "llm_latency_seconds", _BY, "15m") + " > 60",
        floor=at_least(10, "llm_latency_seconds_count", _BY, "15m"),
        for_="10m",
        labels=("job", "agent_name", "provider", "model"),
        board="models",
        summary="{{ $labels.model }} is slow for {{ $labels.agent_name }}",
        description="One in twenty calls of {{ $labels.agent_name }} to {{ $labels.model }} takes "
        "longer than {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="One model answers slowly, whatever the objective of the agent is.",
            who_is_hurt="Users who wait for answers of this model.",
            look_at={
                "p95 by model": "histogram_quantile(0.95, sum by (provider, model, le) "
                "(rate(llm_latency_seconds_bucket[5m])))",
                "The provider's share of it": "histogram_quantile(0.95, sum by (provider, le) "
                "(rate(llm_api_latency_seconds_bucket[5m])))",
                "Seconds per output token, p50": "histogram_quantile(0.5, sum by (provider, model, "
                "le) (rate(llm_time_per_output_token_seconds_bucket[5m])))",
            },
            causes=(
                "The provider is overloaded.",
                "Prompts or answers have become longer.",
                "Calls wait in the client for a connection: the provider's share is then small.",
            ),
            do_now=(
                steps.CHECK_THE_PROVIDER,
                steps.SWITCH_THE_MODEL,
                "Lower `max_tokens` or the reasoning effort.",
            ),
        ),
        fires=(
            Fires(
                histogram("llm_latency_seconds", CALL, {"60.0": 1, "120.0": 10, "+Inf": 10}),
                "40m",
                _OF,
                "1m 56s",
            ),
        ),
        silent=(
            Silent(
                "calls take under a minute",
                histogram("llm_latency_seconds", CALL, {"30.0": 0, "60.0": 10, "+Inf": 10}),
                "40m",
            ),
        ),
    ),
    Alert(
        name="StreamsStall",
        severity="warning",
        when="the 95th percentile of the longest gap between two chunks of a stream is above "
        "10 seconds over 15 minutes; with at least 10 streams",
        condition=quantile(0.95, "llm_time_between_chunks_seconds", _BY, "15m") + " > 10",
        floor=at_least(10, "llm_time_between_chunks_seconds_count", _BY, "15m"),
        for_="5m",
        labels=("job", "agent_name", "provider", "model"),
        board="models",
        summary="Streams of {{ $labels.model }} to {{ $labels.agent_name }} stall",
        description="One in twenty streams of {{ $labels.model }} to {{ $labels.agent_name }} "
        "pauses for longer than {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="Streams begin in time and then stop for seconds between two chunks.",
            who_is_hurt="Users who watch an answer appear, and proxies that close idle streams.",
            look_at={
                "p95 of the longest gap": "histogram_quantile(0.95, sum by (provider, model, le) "
                "(rate(llm_time_between_chunks_seconds_bucket[5m])))",
                "Lag of the event loop, p99": "histogram_quantile(0.99, sum by (job, le) "
                "(rate(event_loop_lag_seconds_bucket[5m])))",
            },
            causes=(
                "The provider is overloaded.",
                "Blocking code holds the event loop, so that chunks are read late.",
                "A proxy buffers the stream.",
            ),
            do_now=(
                steps.CHECK_THE_PROVIDER,
                "If the event loop lags, look for blocking calls in coroutines.",
                steps.SWITCH_THE_MODEL,
            ),
        ),
        fires=(
            Fires(
                histogram(
                    "llm_time_between_chunks_seconds", CALL, {"10.0": 0, "30.0": 10, "+Inf": 10}
                ),
                "40m",
                _OF,
                "29s",
            ),
        ),
        silent=(
            Silent(
                "gaps are shorter",
                histogram(
                    "llm_time_between_chunks_seconds", CALL, {"5.0": 0, "10.0": 10, "+Inf": 10}
                ),
                "40m",
            ),
        ),
    ),
)
