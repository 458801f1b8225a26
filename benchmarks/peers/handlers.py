"""The peers by name; each is imported and attached only in the process that measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.peers.peer import Peer, Seen

_GEN_AI_DETAILS = {
    "cache_read": "gen_ai.usage.cache_read.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "audio_input": "gen_ai.usage.audio.input_tokens",
    "audio_output": "gen_ai.usage.audio.output_tokens",
}


def agentmetrics() -> Peer:
    from agentmetrics import MemoryRecorder, MetricsCallbackHandler
    from tests.conformance.reading import recorded

    recorder = MemoryRecorder()

    def watch() -> Sequence[Any]:
        nonlocal recorder
        recorder = MemoryRecorder()
        return [MetricsCallbackHandler(recorder)]

    def seen() -> Sequence[Seen]:
        return [
            Seen(bill.status, bill.model, bill.input_tokens, bill.output_tokens, bill.details)
            for bill in recorded(recorder)
        ]

    return Peer("agentmetrics", "llm-agentmetrics", watch, seen)


def usage_metadata() -> Peer:
    from langchain_core.callbacks import UsageMetadataCallbackHandler

    handler = UsageMetadataCallbackHandler()

    def watch() -> Sequence[Any]:
        nonlocal handler
        handler = UsageMetadataCallbackHandler()
        return [handler]

    def seen() -> Sequence[Seen]:
        return [_of_usage_metadata(model, usage) for model, usage in handler.usage_metadata.items()]

    fields = frozenset({"model", "input_tokens", "output_tokens", "details"})
    return Peer("LangChain's UsageMetadataCallbackHandler", "langchain-core", watch, seen, fields)


def _of_usage_metadata(model: str, usage: Any) -> Seen:
    inputs, outputs = usage.get("input_token_details", {}), usage.get("output_token_details", {})
    counts = {
        "cache_read": inputs.get("cache_read"),
        "cache_creation": inputs.get("cache_creation"),
        "audio_input": inputs.get("audio"),
        "reasoning": outputs.get("reasoning"),
        "audio_output": outputs.get("audio"),
    }
    return Seen(
        None,
        model,
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        {name: count for name, count in counts.items() if count},
    )


def openinference() -> Peer:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    from benchmarks.peers.spans import Convention, span_peer

    count = "llm.token_count"
    convention = Convention(
        lambda attributes: attributes.get("openinference.span.kind") == "LLM",
        ("llm.model_name",),
        f"{count}.prompt",
        f"{count}.completion",
        {
            "cache_read": f"{count}.prompt_details.cache_read",
            "cache_creation": f"{count}.prompt_details.cache_write",
            "audio_input": f"{count}.prompt_details.audio",
            "reasoning": f"{count}.completion_details.reasoning",
            "audio_output": f"{count}.completion_details.audio",
        },
    )
    return span_peer(
        "OpenInference",
        "openinference-instrumentation-langchain",
        lambda tracing, _: LangChainInstrumentor().instrument(tracer_provider=tracing),
        convention,
    )


def openllmetry() -> Peer:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    return _gen_ai(
        "OpenLLMetry",
        "opentelemetry-instrumentation-langchain",
        LangchainInstrumentor(),
        "gen_ai.usage.cache_creation.input_tokens",
    )


def opentelemetry() -> Peer:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    return _gen_ai(
        "OpenTelemetry",
        "opentelemetry-instrumentation-genai-langchain",
        LangChainInstrumentor(),
        "gen_ai.usage.cache_write.input_tokens",
    )


def _gen_ai(name: str, package: str, instrumentor: Any, cache_creation: str) -> Peer:
    from benchmarks.peers.spans import Convention, span_peer

    convention = Convention(
        lambda attributes: attributes.get("gen_ai.operation.name") in _CALLS,
        ("gen_ai.response.model", "gen_ai.request.model"),
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        {**_GEN_AI_DETAILS, "cache_creation": cache_creation},
    )
    return span_peer(
        name,
        package,
        lambda tracing, metering: instrumentor.instrument(
            tracer_provider=tracing, meter_provider=metering
        ),
        convention,
    )


_CALLS = ("chat", "text_completion", "generate_content", "completion")

PEERS: Mapping[str, Callable[[], Peer]] = {
    "agentmetrics": agentmetrics,
    "usage-metadata": usage_metadata,
    "openinference": openinference,
    "openllmetry": openllmetry,
    "opentelemetry": opentelemetry,
}
