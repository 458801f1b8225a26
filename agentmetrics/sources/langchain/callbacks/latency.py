"""How long a provider says that it took for a call, where it says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MAX_SECONDS = 86_400.0
"""Above it is no duration of a call: a number in another unit, or none."""

_NANOSECONDS, _MILLISECONDS, _SECONDS = 1e-9, 1e-3, 1.0

Reader = Callable[[Mapping[str, Any], Mapping[str, Any]], float]


def api_seconds(served: Mapping[str, Any], llm_output: Mapping[str, Any]) -> float:
    """The provider's own account of a whole call in seconds, 0.0 where it gives none.

    ``served`` is the message's ``response_metadata`` (a text LLM's ``generation_info``). What
    cannot be a duration (negative, NaN, text) is no account.
    """
    for read in READERS:
        seconds = read(served, llm_output)
        if seconds:
            return seconds
    return 0.0


def header_seconds(headers: Mapping[str, Any]) -> float:
    """What OpenAI's response headers say, which ``include_response_headers=True`` hands on.

    Only for calls that did not stream: headers are sent before the first token, so in a stream
    they leave out the generation. https://platform.openai.com/docs/api-reference/debugging-requests
    """
    try:
        return _seconds(float(headers.get("openai-processing-ms", 0)), _MILLISECONDS)
    except (AttributeError, TypeError, ValueError):
        return 0.0


def _seconds(value: object, unit: float) -> float:
    if type(value) is not float and type(value) is not int:
        return 0.0
    seconds = value * unit
    return seconds if 0.0 <= seconds <= MAX_SECONDS else 0.0


def _groq(served: Mapping[str, Any], llm_output: Mapping[str, Any]) -> float:
    # https://console.groq.com/docs/production-readiness/optimizing-latency: latency is the time
    # at the server from request to completion; total_time leaves out the queue.
    usage = llm_output.get("token_usage") or served.get("token_usage")
    if not isinstance(usage, Mapping):
        return 0.0
    worked = _seconds(usage.get("total_time"), _SECONDS)
    return worked and worked + _seconds(usage.get("queue_time"), _SECONDS)


def _ollama(served: Mapping[str, Any], llm_output: Mapping[str, Any]) -> float:
    # https://docs.ollama.com/api/usage: all of it, loading the model too, as the caller waits
    # for that at the server.
    return _seconds(served.get("total_duration"), _NANOSECONDS)


def _bedrock(served: Mapping[str, Any], llm_output: Mapping[str, Any]) -> float:
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseMetrics.html
    # (langchain-aws makes a list of it where it does not stream), and what InvokeModel adds to
    # the last chunk of a stream.
    metrics = served.get("metrics")
    if type(metrics) is dict:
        latency = metrics.get("latencyMs")
        return _seconds(latency[0] if type(latency) is list and latency else latency, _MILLISECONDS)
    metrics = served.get("amazon-bedrock-invocationMetrics")
    if type(metrics) is dict:
        return _seconds(metrics.get("invocationLatency"), _MILLISECONDS)
    return 0.0


READERS: tuple[Reader, ...] = (_bedrock, _ollama, _groq)

REPORTING = frozenset({"amazon_bedrock", "groq", "ollama"})
"""The providers whose packages hand on what the readers read; other calls are not asked."""
