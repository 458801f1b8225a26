"""Amazon Bedrock: Converse, and InvokeModel with each model family's own format."""

from __future__ import annotations

import base64
import functools
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import NO_KEY, Wire, without_usage

PROVIDER = "amazon_bedrock"
_MILLISECONDS = 1e-3
# https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html and the errors of
# Converse and InvokeModel; those of a stream are the same with a small first letter.
_ERROR_TYPES: Mapping[str, str] = {
    "AccessDeniedException": "authentication",
    "InternalServerException": "server_error",
    "ModelErrorException": "server_error",
    "ModelNotReadyException": "server_error",
    "ModelStreamErrorException": "server_error",
    "ModelTimeoutException": "timeout",
    "ResourceNotFoundException": "invalid_request",
    "ServiceQuotaExceededException": "rate_limit",
    "ServiceUnavailableException": "server_error",
    "ThrottlingException": "rate_limit",
    "ValidationException": "invalid_request",
}
_TOO_LONG = "Input is too long for requested model."


@functools.cache
def session() -> Any:
    import boto3

    key = NO_KEY.get_secret_value()
    return boto3.Session(aws_access_key_id=key, aws_secret_access_key=key, region_name="us-east-1")


def _arguments(case: Case, url: str) -> dict[str, Any]:
    """Clients of one shared session: each session would read the service models anew."""
    from botocore.config import Config

    config = Config(retries={"max_attempts": 0})
    client, control = (
        session().client(service, endpoint_url=url, config=config)
        for service in ("bedrock-runtime", "bedrock")
    )
    return {"model": case.model, "client": client, "bedrock_client": control, **case.options}


def _converse_client(case: Case, url: str) -> Any:
    from langchain_aws import ChatBedrockConverse

    return ChatBedrockConverse(**_arguments(case, url))


def _invoke_client(case: Case, url: str) -> Any:
    from langchain_aws import ChatBedrock

    return ChatBedrock(**_arguments(case, url))


def _text_client(case: Case, url: str) -> Any:
    from langchain_aws import BedrockLLM

    return BedrockLLM(**_arguments(case, url))


def _error_type(case: Case) -> str:
    """Of the error header, of an exception in the stream, or of a connection that was lost."""
    if case.failed:
        if case.body["message"] == _TOO_LONG:
            return "context_length"
        return _ERROR_TYPES[case.headers["x-amzn-errortype"]]
    for event in case.events:
        for name in event:
            if name.endswith("Exception"):
                return _ERROR_TYPES[name[0].upper() + name[1:]]
    return "connection" if case.ends == "cut" else ""


def _converse_bill(case: Case) -> Bill:
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html:
    # inputTokens leaves out what was read from and written to the cache.
    error = _error_type(case)
    if case.streamed:
        parts: dict[str, Any] = {
            name: part for event in case.events for name, part in event.items()
        }
        if "messageStop" not in parts:
            error = error or "connection"
        response = {**parts.get("messageStop", {}), **parts.get("metadata", {})}
    else:
        response = {} if case.failed else case.body
    usage = response.get("usage")
    if usage is None:
        return without_usage(PROVIDER, case.model, error)
    read, created = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    model_usage = response.get("additionalModelResponseFields", {}).get("usage", {})
    return Bill(
        PROVIDER,
        case.model,
        usage["inputTokens"] + read + created,
        usage["outputTokens"],
        details(
            cache_read=read,
            cache_creation=created,
            reasoning=model_usage.get("output_tokens_details", {}).get("thinking_tokens"),
        ),
        status="error" if error else "success",
        error_type=error,
        api_seconds=response["metrics"]["latencyMs"] * _MILLISECONDS,
    )


def _invoke_bill(case: Case) -> Bill:
    # Not streamed, the counts are in the headers of the response; streamed, in the metrics that
    # Bedrock adds to the last chunk, whichever model it is. Both leave out the cache. Without
    # them there is what the model's own format says.
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
    error = _error_type(case)
    told: Sequence[Mapping[str, Any]] = ()
    if not case.failed:
        told = [e.get("chunk", {}) for e in case.events] or [case.body]
    counts = _metrics(told) if case.streamed else _headers(case.headers)
    if counts is None:
        sent, received = _own_counts(told)
        return replace(
            without_usage(PROVIDER, case.model, error), input_tokens=sent, output_tokens=received
        )
    sent, received, read, created, milliseconds = counts
    thinking = told[0].get("usage", {}).get("output_tokens_details", {}).get("thinking_tokens")
    return Bill(
        PROVIDER,
        case.model,
        sent + read + created,
        received,
        details(cache_read=read, cache_creation=created, reasoning=thinking),
        api_seconds=milliseconds * _MILLISECONDS,
    )


def _metrics(chunks: Sequence[Mapping[str, Any]]) -> list[int] | None:
    names = (
        "inputTokenCount",
        "outputTokenCount",
        "cacheReadInputTokenCount",
        "cacheWriteInputTokenCount",
        "invocationLatency",
    )
    metrics = chunks[-1].get("amazon-bedrock-invocationMetrics")
    return None if metrics is None else [metrics.get(name, 0) for name in names]


def _headers(headers: Mapping[str, str]) -> list[int] | None:
    names = (
        "input-token-count",
        "output-token-count",
        "cache-read-input-token-count",
        "cache-write-input-token-count",
        "invocation-latency",
    )
    counts = [int(headers.get(f"x-amzn-bedrock-{name}", 0)) for name in names]
    return counts if counts[0] else None


def _own_counts(told: Sequence[Mapping[str, Any]]) -> tuple[int | None, int | None]:
    """Claude's at the start of a stream, Llama's, Titan's: of the prompt, and of a whole reply."""
    if not told:
        return None, None
    first = told[0]
    claude = first.get("message", {}).get("usage", {}).get("input_tokens")
    sent = claude or first.get("prompt_token_count") or first.get("inputTextTokenCount")
    titan = first["results"][0]["tokenCount"] if "results" in first else None
    return sent, first.get("generation_token_count") or titan


def event_stream(events: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Events as AWS frames them, each named by its only key.

    https://smithy.io/2.0/aws/amazon-eventstream.html. A ``chunk`` of InvokeModel holds the
    model's own JSON as bytes.
    """
    for event in events:
        ((name, payload),) = event.items()
        if name == "chunk":
            payload = {"bytes": base64.b64encode(json.dumps(payload).encode()).decode()}
        kind = "exception" if name.endswith("Exception") else "event"
        yield _message(
            {
                f":{kind}-type": name,
                ":content-type": "application/json",
                ":message-type": kind,
            },
            json.dumps(payload).encode(),
        )


def _message(headers: Mapping[str, str], payload: bytes) -> bytes:
    head = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack(">II", 12 + len(head) + len(payload) + 4, len(head))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


_STRING = 7


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return bytes([len(key)]) + key + struct.pack(">BH", _STRING, len(text)) + text


_MEDIA = "application/vnd.amazon.eventstream"
CONVERSE = Wire(_converse_client, _converse_bill, event_stream, _MEDIA)
INVOKE = Wire(_invoke_client, _invoke_bill, event_stream, _MEDIA)
TEXT = Wire(_text_client, _invoke_bill, event_stream, _MEDIA)
