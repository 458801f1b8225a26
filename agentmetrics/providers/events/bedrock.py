"""Bedrock's events: Converse's, and the chunks that InvokeModel has of each family of models."""

from __future__ import annotations

from collections.abc import Mapping

from agentmetrics.providers.bedrock import METRICS
from agentmetrics.providers.deltas import has_output
from agentmetrics.providers.fields import field, parts_of
from agentmetrics.providers.reading import Read, Reading
from agentmetrics.providers.service_tier import service_tier_of


def _block_start(reading: Reading, event: object) -> bool:
    start = field(field(event, "contentBlockStart"), "start")
    called = field(start, "toolUse") is not None
    reading.calls_tool |= called
    return called


def _block_delta(reading: Reading, event: object) -> bool:
    return has_output(field(field(event, "contentBlockDelta"), "delta"))


def _stop(reading: Reading, event: object) -> bool:
    reading.begun = field(event, "messageStop")
    reading.stop(field(reading.begun, "stopReason"))
    return False


def _metadata(reading: Reading, event: object) -> bool:
    metadata = field(event, "metadata")
    reading.service_tier = service_tier_of(metadata) or reading.service_tier
    asked_for = field(reading.begun, "additionalModelResponseFields")
    reading.count(
        {
            "usage": field(metadata, "usage"),
            "metrics": field(metadata, "metrics"),
            "additionalModelResponseFields": asked_for,
        }
    )
    return False


def _llama(reading: Reading, event: object) -> bool:
    # The prompt's count is on the first chunk alone, and the other is of all chunks so far.
    if reading.begun is None:
        reading.begun = field(event, "prompt_token_count")
    reading.count(
        {
            "generation": "",
            "prompt_token_count": reading.begun,
            "generation_token_count": field(event, "generation_token_count"),
        }
    )
    reading.stop(field(event, "stop_reason"))
    return has_output(field(event, "generation"))


def _titan(reading: Reading, event: object) -> bool:
    reading.stop(field(event, "completionReason"))
    reading.count(event)
    return has_output(field(event, "outputText"))


def _texts(reading: Reading, event: object) -> bool:
    """Mistral's text models and Cohere's send parts of responses."""
    reading.take(event)
    texts = (*parts_of(event, "outputs"), *parts_of(event, "generations"))
    return any(has_output(field(text, "text")) for text in texts)


def read_metrics(reading: Reading, event: object) -> None:
    """Read what Bedrock adds to the last chunk of whatever model: the bill, without details."""
    if not isinstance(event, Mapping) or event.get(METRICS) is None:
        return
    before = reading.usage
    reading.count({METRICS: event[METRICS]})
    if before is not None and reading.usage is not None:
        whole = reading.usage.but_with(**{name: getattr(before, name) for name in _LEFT_OUT})
        if reading.usage.doubt is None and whole.stands:  # else they do not go together
            reading.usage = whole


_LEFT_OUT = ("cache_creation_1h_tokens", "reasoning_tokens", "unknown_tokens")

BY_FIELD: Mapping[str, Read] = {
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html
    # and Nova's own format
    "contentBlockDelta": _block_delta,
    "contentBlockStart": _block_start,
    "messageStop": _stop,
    "metadata": _metadata,
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
    "generation": _llama,
    "outputText": _titan,
    "outputs": _texts,
    "generations": _texts,
}
