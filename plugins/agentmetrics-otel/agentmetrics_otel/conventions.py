"""The GenAI semantic conventions, as data: their instruments, and what of a fact is in each.

Two versions are known: the last that OpenTelemetry published with all of its conventions (1.41),
and those of the repository that the GenAI ones moved to in May 2026, as of October 2026.
https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-metrics.md
https://github.com/open-telemetry/semantic-conventions-genai/tree/main/docs/gen-ai
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentmetrics import ConfigurationError
from agentmetrics.plugin import AgentRun, LLMCall, ToolExecution

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"

DURATION_BUCKETS = tuple(0.01 * 2**n for n in range(14))
"""Seconds, to 81.92: of calls, of tools and to the first chunk."""
AGENT_BUCKETS = tuple(0.1 * 2**n for n in range(13))
"""Seconds, to 409.6."""
TOKEN_BUCKETS = tuple(float(4**n) for n in range(14))
COUNT_BUCKETS = tuple(float(2**n) for n in range(8))

Kind = Literal["llm", "agent", "tool"]


@dataclass(frozen=True)
class Reported:
    """An instrument of the conventions.

    ``measure`` gives what a finished fact of this kind adds to it, ``None`` where that is nothing.
    ``fixed`` are attributes with one value; ``of_errors`` is whether it has ``error.type``.
    ``replaces`` are the rows of the catalogue that say the same.
    """

    name: str
    instrument: Literal["counter", "histogram"]
    unit: str
    description: str
    of: Kind
    measure: Callable[[Any], float | None]
    buckets: tuple[float, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    of_errors: bool = False
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Convention:
    """One version: its instruments, and the attributes that have the provider's name."""

    instruments: tuple[Reported, ...]
    provider: tuple[str, ...] = ("gen_ai.provider.name",)


# What is measured. Unknown is not zero, except where the conventions ask for it.


def _seconds(fact: LLMCall | AgentRun | ToolExecution) -> float:
    return fact.ended - fact.started


def _seconds_to_first_chunk(call: LLMCall) -> float | None:
    return call.first_token - call.started if call.first_token else None


def _input_tokens(call: LLMCall) -> float | None:
    return call.usage.input_tokens if call.usage else None


def _output_tokens(call: LLMCall) -> float | None:
    return call.usage.output_tokens if call.usage else None


def _other_input_tokens(call: LLMCall) -> float:
    return (_input_tokens(call) or 0) - (_audio_input_tokens(call) or 0)


def _other_output_tokens(call: LLMCall) -> float:
    return (_output_tokens(call) or 0) - (_audio_output_tokens(call) or 0)


def _audio_input_tokens(call: LLMCall) -> float | None:
    return (call.usage.audio_input_tokens or None) if call.usage else None


def _audio_output_tokens(call: LLMCall) -> float | None:
    return (call.usage.audio_output_tokens or None) if call.usage else None


def _cache_read_tokens(call: LLMCall) -> float | None:
    return (call.usage.cache_read_tokens or None) if call.usage else None


def _cache_write_tokens(call: LLMCall) -> float | None:
    return (call.usage.cache_creation_tokens or None) if call.usage else None


def _reasoning_tokens(call: LLMCall) -> float | None:
    return (call.usage.reasoning_tokens or None) if call.usage else None


def _llm_calls(run: AgentRun) -> float:
    return run.llm_calls


def _tool_calls(run: AgentRun) -> float:
    return run.tool_calls


# What each version has.


def _duration(name: str, description: str, of: Kind, *replaces: str) -> Reported:
    buckets = AGENT_BUCKETS if of == "agent" else DURATION_BUCKETS
    return Reported(
        name,
        "histogram",
        "s",
        description,
        of,
        _seconds,
        buckets,
        of_errors=True,
        replaces=replaces,
    )


def _first_chunk(name: str) -> Reported:
    return Reported(
        name,
        "histogram",
        "s",
        "Time to receive the first chunk of a streamed response.",
        "llm",
        _seconds_to_first_chunk,
        DURATION_BUCKETS,
        replaces=("llm_time_to_first_token_seconds",),
    )


def _token_usage(token_type: str, measure: Callable[[LLMCall], float | None]) -> Reported:
    return Reported(
        "gen_ai.client.token.usage",
        "histogram",
        "{token}",
        "Number of input and output tokens used.",
        "llm",
        measure,
        TOKEN_BUCKETS,
        {"gen_ai.token.type": token_type},
        replaces=("llm_tokens_total",),
    )


def _tokens(
    name: str, modality: str, measure: Callable[[LLMCall], float | None], replaces: str
) -> Reported:
    return Reported(
        f"gen_ai.client.inference.usage.{name}",
        "counter",
        "{token}",
        f"Tokens used, {name.replace('_', ' ').replace('.', ' ')}.",
        "llm",
        measure,
        fixed={"gen_ai.token.modality": modality},
        replaces=(replaces,),
    )


def _tokens_of_one(name: str, measure: Callable[[LLMCall], float | None]) -> Reported:
    return Reported(
        f"gen_ai.client.inference.operation.{name}",
        "histogram",
        "{token}",
        f"Number of {name.replace('_', ' ')} used by one call.",
        "llm",
        measure,
        TOKEN_BUCKETS,
    )


def _of_a_run(name: str, unit: str, measure: Callable[[AgentRun], float], row: str) -> Reported:
    return Reported(
        f"gen_ai.invoke_agent.{name}",
        "histogram",
        unit,
        f"Number of {name.replace('_', ' ')} made in one agent run.",
        "agent",
        measure,
        COUNT_BUCKETS,
        replaces=(row,),
    )


_CALLS = ("llm_calls_total", "llm_errors_total", "llm_latency_seconds")

SEMCONV_1_41 = Convention(
    instruments=(
        _duration("gen_ai.client.operation.duration", "GenAI operation duration.", "llm", *_CALLS),
        _first_chunk("gen_ai.client.operation.time_to_first_chunk"),
        _token_usage("input", _input_tokens),
        _token_usage("output", _output_tokens),
    ),
    provider=("gen_ai.provider.name", "gen_ai.system"),  # its name before 1.37, in many dashboards
)

LATEST = Convention(
    instruments=(
        _duration(
            "gen_ai.client.inference.duration",
            "GenAI client inference operation duration.",
            "llm",
            *_CALLS,
        ),
        _first_chunk("gen_ai.client.inference.time_to_first_chunk"),
        _tokens("input_tokens", "unknown", _other_input_tokens, "llm_tokens_total"),
        _tokens("input_tokens", "audio", _audio_input_tokens, "llm_tokens_total"),
        _tokens("output_tokens", "unknown", _other_output_tokens, "llm_tokens_total"),
        _tokens("output_tokens", "audio", _audio_output_tokens, "llm_tokens_total"),
        _tokens(
            "cache_read.input_tokens", "unknown", _cache_read_tokens, "llm_token_details_total"
        ),
        _tokens(
            "cache_write.input_tokens", "unknown", _cache_write_tokens, "llm_token_details_total"
        ),
        _tokens("reasoning.output_tokens", "unknown", _reasoning_tokens, "llm_token_details_total"),
        _tokens_of_one("input_tokens", _input_tokens),
        _tokens_of_one("output_tokens", _output_tokens),
        _duration(
            "gen_ai.invoke_agent.duration",
            "Duration of a single agent invocation.",
            "agent",
            "agent_runs_total",
            "agent_run_duration_seconds",
        ),
        _of_a_run("inference_calls", "{inference_call}", _llm_calls, "agent_run_llm_calls"),
        _of_a_run("tool_calls", "{tool_call}", _tool_calls, "agent_run_tool_calls"),
        _duration(
            "gen_ai.execute_tool.duration",
            "Duration of a single tool execution.",
            "tool",
            "tool_executions_total",
            "tool_execution_duration_seconds",
        ),
    )
)

CHOICES = {"gen_ai_1.41": SEMCONV_1_41, "gen_ai_latest_experimental": LATEST}

# Our providers are named by the packages that call them.
PROVIDERS = {
    "amazon_bedrock": "aws.bedrock",
    "amazon_bedrock_converse": "aws.bedrock",
    "anthropic_bedrock": "aws.bedrock",
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gemini",
    "google_generative_ai": "gcp.gemini",
    "gemini": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "google_anthropic_vertex": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "vertex_ai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "watsonx": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshotai": "moonshot_ai",
    "xai": "x_ai",
}


@dataclass(frozen=True)
class Names:
    """The conventions that are recorded, and the rows of the catalogue left out for them."""

    conventions: tuple[Convention, ...] = ()
    left_out: frozenset[str] = frozenset()


def chosen_names() -> Names:
    """What ``OTEL_SEMCONV_STABILITY_OPT_IN`` asks for: a list, of which other parts are for others.

    ``/dup`` after a value keeps the catalogue's rows beside the convention's instruments. Raises
    ``ConfigurationError`` for a value that means GenAI conventions that are not known here.
    """
    conventions: list[Convention] = []
    left_out: set[str] = set()
    for item in os.environ.get(OPT_IN, "").split(","):
        value, _, dup = item.strip().partition("/")
        if not value.startswith("gen_ai"):
            continue
        if value not in CHOICES or dup not in ("", "dup"):
            choices = ", ".join([*CHOICES, *(f"{choice}/dup" for choice in CHOICES)])
            raise ConfigurationError(
                f"{OPT_IN} has {item.strip()!r}, which is no version of the GenAI conventions that "
                f"is known here: write one of {choices}"
            )
        conventions.append(CHOICES[value])
        if not dup:
            left_out.update(row for it in CHOICES[value].instruments for row in it.replaces)
    return Names(tuple(conventions), frozenset(left_out))
