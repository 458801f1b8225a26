"""Gemini, by the Gemini API and by Vertex AI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import ERROR_TYPES, NO_KEY, Wire, sse, without_usage

PROVIDER = "google_genai"
"""Of both: langchain-google-genai does not tell which of the two it asks."""

_ONE_ATTEMPT = 1
_TOO_LONG = "exceeds the maximum number of tokens"


def _client(case: Case, url: str) -> Any:
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(
        model=case.model,
        base_url=url,
        api_key=NO_KEY,
        max_retries=_ONE_ATTEMPT,
        **case.options,
    )


def _text_client(case: Case, url: str) -> Any:
    from langchain_google_genai import GoogleGenerativeAI

    return GoogleGenerativeAI(
        model=case.model,
        base_url=url,
        api_key=NO_KEY,
        max_retries=_ONE_ATTEMPT,
        **case.options,
    )


def _vertex_client(case: Case, url: str) -> Any:
    from google.oauth2.credentials import Credentials
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(
        model=case.model,
        base_url=url,
        vertexai=True,
        project="no-project",
        location="us-central1",
        credentials=Credentials(token=NO_KEY.get_secret_value()),
        max_retries=_ONE_ATTEMPT,
        **case.options,
    )


def _bill(case: Case) -> Bill:
    # https://ai.google.dev/api/generate-content#UsageMetadata: thoughts are billed as output and
    # tool-use prompts as input, each beside the count of the rest; every count of a stream is of
    # all of it so far, and a count of 0 is left out.
    objects = case.events if case.streamed else (case.body,)
    error = _error_type(case, objects)
    model = next((o["modelVersion"] for o in objects if "modelVersion" in o), case.model)
    usage = next((o["usageMetadata"] for o in reversed(objects) if "usageMetadata" in o), None)
    if usage is None:
        return without_usage(PROVIDER, model, error)
    thoughts = usage.get("thoughtsTokenCount", 0)
    return Bill(
        PROVIDER,
        model,
        usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
        usage.get("candidatesTokenCount", 0) + thoughts,
        details(
            cache_read=usage.get("cachedContentTokenCount"),
            reasoning=thoughts,
            audio_input=_of_modality(usage, "promptTokensDetails", "AUDIO"),
            audio_output=_of_modality(usage, "candidatesTokensDetails", "AUDIO"),
            image_input=_of_modality(usage, "promptTokensDetails", "IMAGE"),
            image_output=_of_modality(usage, "candidatesTokensDetails", "IMAGE"),
        ),
        status="error" if error else "success",
        error_type=error,
    )


def _of_modality(usage: Mapping[str, Any], name: str, modality: str) -> int:
    modalities = usage.get(name, ())
    return sum(m["tokenCount"] for m in modalities if m["modality"] == modality)


def _error_type(case: Case, objects: Iterable[Mapping[str, Any]]) -> str:
    for response in objects:
        if "error" in response:
            if _TOO_LONG in response["error"]["message"]:
                return "context_length"
            return ERROR_TYPES[response["error"]["code"]]
    return "connection" if case.ends == "cut" else ""


GEMINI = Wire(_client, _bill, sse)
TEXT = Wire(_text_client, _bill, sse)
VERTEX = Wire(_vertex_client, _bill, sse)
