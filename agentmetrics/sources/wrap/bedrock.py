"""boto3's client of Bedrock's runtime."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from agentmetrics.providers.lines import parsed
from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.wrap.methods import record
from agentmetrics.sources.wrap.requests import Asked, Recording, Request

CLASSES = ("BaseClient",)
SERVICE = "bedrock-runtime"
_PROVIDER = "amazon_bedrock"


def attach(client: Any, recording: Recording) -> None:
    """Record the requests of a client that ``boto3.client("bedrock-runtime")`` made.

    Raises ``TypeError`` for a client of another service.
    """
    service = client.meta.service_model.service_name
    if service != SERVICE:
        raise TypeError(f"wrap() records boto3's client of {SERVICE}, not of {service}")
    recording.place = clean_label(client.meta.region_name)
    record(client, "converse", recording, _read, _take_converse)
    record(client, "converse_stream", recording, _read, _take_stream)
    record(client, "invoke_model", recording, _read_invoke, _take_invoke)
    record(client, "invoke_model_with_response_stream", recording, _read_invoke, _take_stream)


def _read(*_: object, **sent: Any) -> Asked:
    return Asked(_PROVIDER, sent.get("modelId"), sent)


def _read_invoke(*_: object, **sent: Any) -> Asked:
    return Asked(_PROVIDER, sent.get("modelId"), lambda: parsed(sent["body"]))


def _take_converse(request: Request, result: dict[str, Any]) -> dict[str, Any]:
    request.answered(result)
    return result


def _take_stream(request: Request, result: dict[str, Any]) -> dict[str, Any]:
    where = "body" if result.get("stream") is None else "stream"
    result[where] = request.follow(result[where])
    return result


def _take_invoke(request: Request, result: dict[str, Any]) -> dict[str, Any]:
    """The answer has come, and boto3 has it read from the connection once: it is read here, and to
    be read again."""
    body = result["body"]
    try:
        text = body.read()
    except BaseException as error:
        request.end(error)
        raise
    result["body"] = type(body)(io.BytesIO(text), len(text))
    answer = parsed(text)
    told = {"ResponseMetadata": result.get("ResponseMetadata")}
    request.answered({**told, **answer} if isinstance(answer, Mapping) else told)
    return result
