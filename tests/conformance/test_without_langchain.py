"""Every recorded response without LangChain: what is recorded is what it bills.

As a body or events in every form that a program may have them in, and from the providers' SDKs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.conformance.case import Case, all_cases
from tests.conformance.reading import own_recorder
from tests.conformance.replay import replaying
from tests.conformance.sdks import ASYNC, PROMPT, SYNC, UNTOLD, openai_at
from tests.conformance.without import (
    BODIES,
    STREAMS,
    assert_billed,
    forms,
    record,
    tracked,
)

# The SDKs warn of models that a provider will retire.
pytestmark = pytest.mark.filterwarnings("default")
CASES = list(all_cases())
TOLD = [case for case in CASES if not case.failed]


def cases(chosen: list[Case]) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in chosen])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with replaying() as at:
        yield at


@cases(TOLD)
def test_bodies_and_events_are_recorded_as_billed(case: Case) -> None:
    for method, form in forms(case):
        assert_billed(record(case, method, form), case, form)


def test_every_form_is_used() -> None:
    assert {form for case in TOLD for _, form in forms(case)} == {*BODIES, *STREAMS, "events"}


@cases(CASES)
def test_an_sdk_is_recorded_as_billed(case: Case, url: str) -> None:
    recorder = own_recorder()
    with suppress(Exception), tracked(case, recorder) as call:
        said = SYNC[case.wire](case, f"{url}/{case.id}")
        if case.streamed:
            for _ in call.record_stream(said):
                pass
        else:
            call.record_response(said)
    assert_billed(recorder, case, _form(case), **UNTOLD.get(case.id, {}))


@cases([case for case in TOLD if case.wire in ASYNC])
def test_an_async_sdk_is_recorded_as_billed(case: Case, url: str) -> None:
    recorder = own_recorder()

    async def ask() -> None:
        async with tracked(case, recorder) as call:
            said = ASYNC[case.wire](case, f"{url}/{case.id}")
            if not case.streamed:
                call.record_response(await said)
                return
            async for _ in call.record_stream(said if hasattr(said, "__aiter__") else await said):
                pass

    with suppress(Exception):
        asyncio.run(ask())
    assert_billed(recorder, case, _form(case), **UNTOLD.get(case.id, {}))


@pytest.mark.parametrize("name", ["plain", "tool-call", "reasoning", "incomplete"])
def test_the_helper_of_openais_sdk_for_responses(name: str, url: str) -> None:
    case = next(c for c in CASES if c.id == f"openai-responses/{name}-streamed")
    recorder = own_recorder()
    responses = openai_at("OpenAI", f"{url}/{case.id}").responses
    with (
        tracked(case, recorder) as call,
        call.record_stream(responses.stream(model=case.model, input=PROMPT)) as stream,
    ):
        next(stream)
        stream.until_done()
    assert_billed(recorder, case)


def _form(case: Case) -> str:
    """What boto3 returns has the headers of InvokeModel, and a body that is not read yet."""
    return "boto3" if case.wire in ("bedrock-invoke", "bedrock-text") and not case.streamed else ""
