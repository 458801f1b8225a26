"""The provider's own account of the time that a call took."""

from __future__ import annotations

from agentmetrics.providers.bedrock import HEADERS, METRICS
from agentmetrics.providers.fields import Path, field, first_of

MAX_SECONDS = 86_400.0
"""Above it is no duration of a call: a number in another unit, or none."""

_MILLISECONDS, _NANOSECONDS = 1e-3, 1e-9


def provider_seconds(response: object) -> float:
    """The time in a response, or in the last event of a stream; 0 where it gives none that can be.

    Bedrock's is in its headers and metrics, in milliseconds; Ollama's is in nanoseconds. Groq's is
    that at the server from request to completion, so with the queue:
    https://console.groq.com/docs/production-readiness/optimizing-latency
    """
    for path, unit in _WHERE:
        seconds = _seconds(first_of(response, (path,)), unit)
        if seconds:
            return seconds
    usage = first_of(response, _GROQ)
    worked = _seconds(field(usage, "total_time"))
    return worked and worked + _seconds(field(usage, "queue_time"))


_WHERE: tuple[tuple[Path, float], ...] = (
    ((*HEADERS, "x-amzn-bedrock-invocation-latency"), _MILLISECONDS),
    (("metrics", "latencyMs"), _MILLISECONDS),
    ((METRICS, "invocationLatency"), _MILLISECONDS),
    (("total_duration",), _NANOSECONDS),
)
_GROQ: tuple[Path, ...] = (("usage",), ("x_groq", "usage"))


def _seconds(value: object, unit: float = 1.0) -> float:
    if isinstance(value, str) and value.isdecimal():  # a header
        value = float(value)
    if type(value) is not float and type(value) is not int:
        return 0.0
    return value * unit if 0.0 <= value <= MAX_SECONDS / unit else 0.0
