"""A case without LangChain: its body given to ``record_response``, its events to ``record_stream``.

The body and the events come in every form that a program may have them in.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from botocore.response import StreamingBody

from agentmetrics import MemoryRecorder, track_call
from tests.conformance.case import Bill, Case
from tests.conformance.finish import first_finish_reason
from tests.conformance.judge import bill_of
from tests.conformance.reading import own_recorder, recorded
from tests.conformance.wires import WIRES
from tests.conformance.wires.openai import chat_bill

_IN_FRAMES = ("text/event-stream", "application/x-ndjson")
_PIECE = 17


def as_object(value: Any) -> Any:
    """The plain data as an SDK's objects."""
    if isinstance(value, list | tuple):
        return [as_object(item) for item in value]
    if isinstance(value, dict) and all(map(str.isidentifier, value)):
        return SimpleNamespace(**{name: as_object(item) for name, item in value.items()})
    return value


def _from_boto3(case: Case) -> Any:
    body = json.dumps(case.body).encode()
    return {
        "ResponseMetadata": {"HTTPHeaders": dict(case.headers)},
        "contentType": "application/json",
        "body": StreamingBody(io.BytesIO(body), len(body)),
    }


BODIES: Mapping[str, Callable[[Case], Any]] = {
    "plain": lambda case: case.body,
    "bytes": lambda case: json.dumps(case.body).encode(),
    "framework": lambda case: SimpleNamespace(raw=as_object(case.body), message="a framework's"),
    "boto3": _from_boto3,
}


def _cut(case: Case, events: Iterable[Any]) -> Iterator[Any]:
    yield from events
    if case.ends == "cut":
        raise ConnectionError


def _framed(case: Case) -> bytes:
    return b"".join(WIRES[case.wire].frame(case.events))


def _pieces(case: Case) -> Iterator[bytes]:
    text = _framed(case)
    return (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))


STREAMS: Mapping[str, Callable[[Case], Any]] = {
    "plain": lambda case: (_event(case, event) for event in case.events),
    "object": lambda case: (as_object(_event(case, event)) for event in case.events),
    "lines": lambda case: iter(_framed(case).decode().splitlines()),
    "pieces": _pieces,
}


def _event(case: Case, event: Any) -> Any:
    """As the SDK gives it: the chunks of InvokeModel have JSON in bytes."""
    if case.wire in ("bedrock-invoke", "bedrock-text") and "chunk" in event:
        return {"chunk": {"bytes": json.dumps(event["chunk"]).encode()}}
    return event


def forms(case: Case) -> Iterator[tuple[str, str]]:
    """How a case can be recorded: with which of the two methods, and in what form."""
    if case.failed:
        return
    if not case.streamed:
        for form in BODIES:
            # Only with its headers is Bedrock's InvokeModel what boto3 returns.
            if (form == "boto3") == _counts_in_headers(case):
                yield "response", form
        return
    for form in STREAMS:
        if form == "object" and case.wire.startswith("bedrock"):
            continue  # which has none
        if form in ("plain", "object") or WIRES[case.wire].content_type in _IN_FRAMES:
            yield "stream", form
    if case.ends != "cut":
        yield "response", "events"


def _counts_in_headers(case: Case) -> bool:
    return any(name.endswith("token-count") for name in case.headers)


def tracked(case: Case, recorder: MemoryRecorder) -> track_call:
    """A call of a case's provider and model."""
    return track_call(bill_of(case).provider, case.model, recorder=recorder)


def record(case: Case, method: str, form: str) -> MemoryRecorder:
    """Record a case with one of the two methods, in a form."""
    recorder = own_recorder()
    with tracked(case, recorder) as call:
        if method == "stream":
            with suppress(ConnectionError):
                for _ in call.record_stream(_cut(case, STREAMS[form](case))):
                    pass
        elif form == "events":
            call.record_response([_event(case, event) for event in case.events])
        else:
            call.record_response(BODIES[form](case))
    return recorder


def assert_billed(recorder: MemoryRecorder, case: Case, form: str = "", **untold: Any) -> None:
    """One call was recorded, exactly as the case bills it in a form, but for what is ``untold``.

    Where the provider says nothing of its time, it is the caller's view of it. What failed may name
    its model, which LangChain drops with an error.
    """
    expected = replace(expected_of(case, form), **untold)
    (found,) = recorded(recorder)
    if expected.api_seconds is None:
        found = replace(found, api_seconds=None)
    if expected.cost is None:
        found = replace(found, cost=None)
    if expected.status != "success":
        found, expected = (replace(bill, model=bill.asked) for bill in (found, expected))
    assert found == expected, form
    assert recorder.value("llm_active_calls") == 0


def expected_of(case: Case, form: str) -> Bill:
    """What is to be recorded of a case in a form, of which boto3's has no body to read."""
    bill = replace(_bill(case), asked=case.model)
    if "openai-processing-ms" in case.headers:  # of which a body knows nothing
        bill = replace(bill, api_seconds=None)
    if "x-litellm-response-cost" in case.headers:
        bill = replace(bill, cost=None)
    if bill.status == "success":
        bill = replace(bill, finish_reason=first_finish_reason(case))
    if form == "boto3":
        details = {n: count for n, count in bill.details.items() if n != "reasoning"}
        bill = replace(bill, finish_reason="", details=details)
    return bill


def _bill(case: Case) -> Bill:
    """Without what LangChain makes an error of: a filtered completion, one that cannot be parsed,
    a stream without its end."""
    if case.id in _RAISED:
        return chat_bill(case, _RAISED[case.id])
    bill = bill_of(replace(case, options={}))
    if bill.error_type == "connection" and case.ends != "cut":
        return replace(bill, status="success", error_type="")
    return bill


_RAISED: Mapping[str, str] = {
    "azure-openai/content-filter": "azure",
    "openrouter/not-validated": "openrouter",
}
"""The cases that only a LangChain package makes an error of, with their provider."""
