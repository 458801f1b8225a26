"""Recorded responses through the providers' own SDKs, each on a wrapped client.

Every way to read a response is in ``test_without_langchain``: here is a case of each kind, by wire.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from agentmetrics import MemoryRecorder
from tests.conformance.case import Bill, Case, all_cases
from tests.conformance.clients import SDKS, ask, ways
from tests.conformance.reading import recorded
from tests.conformance.replay import replaying
from tests.conformance.without import expected_of

_TOPIC = re.compile(r"tool|cach|reason|think|usage|event")
NOT_TOLD: Mapping[str, Mapping[str, Any]] = {
    # Only the text of the error says it, which is not read.
    "anthropic/error-too-long": {"error_type": "invalid_request"},
    "bedrock-converse/error-too-long": {"error_type": "invalid_request"},
    "gemini/error-too-long": {"error_type": "invalid_request"},
    "ollama/prompt-cached-streamed": {"details": {}},  # the SDK's class has no field for it
}
"""What an SDK does not tell, by case: what is recorded in its place."""


def _one_of_each_kind() -> Iterator[Case]:
    seen = set()
    for case in all_cases():
        topic = _TOPIC.findall(case.name)[:1]
        kind = (case.wire, case.streamed, case.ends, case.failed, *topic)
        if kind not in seen or case.id in NOT_TOLD:
            seen.add(kind)
            yield case


CASES = list(_one_of_each_kind())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with replaying() as at:
        yield at


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


# The SDKs warn of models that a provider will retire, and leave their connections to collection.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case", "way"),
    [
        pytest.param(c, w, id=f"{c.id}-{w}")
        for c in CASES
        for w in ways(c)
        if w == "sync" or not _TOPIC.search(c.name)
    ],
)
def test_what_is_recorded_is_what_the_raw_response_bills(
    case: Case, way: str, url: str, loop: asyncio.AbstractEventLoop
) -> None:
    recorder = MemoryRecorder()
    raised = ask(case, way, url, recorder, loop)
    expected = replace(expected_of(case, "client"), **NOT_TOLD.get(case.id, {}))
    found = [_comparable(one, expected) for one in recorded(recorder)]
    assert found == [expected], f"the SDK raised {raised!r}"
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert recorder.value("llm_active_calls") == 0


def _comparable(found: Bill, expected: Bill) -> Bill:
    """Of a call that fails, the model is that which the stream has named by then."""
    found = replace(found, api_seconds=None)
    return found if expected.status == "success" else replace(found, model=expected.model)


def test_every_wire_is_spoken() -> None:
    assert {case.wire for case in CASES} == set(SDKS)
