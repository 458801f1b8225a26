"""Ollama's chat and its completion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.conformance.case import Bill, Case, details
from tests.conformance.wires.wire import ERROR_TYPES, Wire, without_usage

PROVIDER = "ollama"
_NANOSECONDS = 1e-9


def _chat_client(case: Case, url: str) -> Any:
    from langchain_ollama import ChatOllama

    model = ChatOllama(model=case.model, base_url=url, **case.options)
    return model if case.streamed else model.bind(stream=False)


def _text_client(case: Case, url: str) -> Any:
    from langchain_ollama import OllamaLLM

    return OllamaLLM(model=case.model, base_url=url, **case.options)


def _bill(case: Case) -> Bill:
    # https://docs.ollama.com/api/usage: the last object has the counts, and its total_duration
    # is all the time the server took for the request, in nanoseconds. Without prompt_eval_count
    # the prompt was in memory already, and nobody says how long it is.
    if case.failed:
        return without_usage(PROVIDER, case.model, ERROR_TYPES[case.http_status])
    objects = case.events if case.streamed else (case.body,)
    if any("error" in o for o in objects):
        return without_usage(PROVIDER, case.model, "other")  # of a kind that Ollama does not tell
    last = next((o for o in reversed(objects) if o["done"]), None)
    if last is None:
        return without_usage(PROVIDER, case.model, "connection" if case.ends == "cut" else "")
    return Bill(
        PROVIDER,
        last["model"],
        last.get("prompt_eval_count"),
        last.get("eval_count"),
        details(cache_read=last.get("prompt_eval_cached_count")),
        api_seconds=last["total_duration"] * _NANOSECONDS if "total_duration" in last else None,
    )


def _ndjson(events: Iterable[Any]) -> Iterator[bytes]:
    for event in events:
        yield json.dumps(event).encode() + b"\n"


CHAT = Wire(_chat_client, _bill, _ndjson, "application/x-ndjson")
TEXT = Wire(_text_client, _bill, _ndjson, "application/x-ndjson")
