"""Recorded responses through the providers' own SDKs, each on a wrapped client.

Every way to read a response is in ``test_without_langchain``: here is a case of each kind, by wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from agentmetrics import MemoryRecorder, wrap
from tests.conformance import sdks
from tests.conformance.case import Case, all_cases
from tests.conformance.judge import bill_of
from tests.conformance.reading import own_recorder
from tests.conformance.replay import replaying
from tests.conformance.without import assert_billed

# The SDKs warn of models that a provider will retire, and leave their connections to collection.
pytestmark = pytest.mark.filterwarnings("default")
_READ_HERE = ("bedrock-invoke", "bedrock-text")
"""Of these wires' answers the body is read for the metrics, too."""


CASES = list(sdks.one_of_each_kind(all_cases()))


def cases(chosen: list[Case]) -> Any:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in chosen])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with replaying() as at:
        yield at


@pytest.fixture
def recorder(case: Case, monkeypatch: pytest.MonkeyPatch) -> MemoryRecorder:
    """Where every client is recorded: on loopback, no URL tells of which provider."""
    recorder, provider = own_recorder(), bill_of(case).provider
    monkeypatch.setattr(
        sdks, "prepared", lambda client: wrap(client, provider=provider, recorder=recorder)
    )
    return recorder


@cases(CASES)
def test_an_sdk_is_recorded_as_billed(case: Case, url: str, recorder: MemoryRecorder) -> None:
    with suppress(Exception):
        said = sdks.SYNC[case.wire](case, f"{url}/{case.id}")
        for _ in said if case.streamed else ():
            pass
    assert_billed(recorder, case, **_untold(case))


@cases([case for case in CASES if sdks.is_wrapped_async(case)])
def test_an_async_sdk_is_recorded_as_billed(case: Case, url: str, recorder: MemoryRecorder) -> None:
    async def ask() -> None:
        said = sdks.ASYNC[case.wire](case, f"{url}/{case.id}")
        if hasattr(said, "__await__"):
            said = await said
        if case.streamed:
            async for _ in said:
                pass

    with suppress(Exception):
        asyncio.run(ask())
    assert_billed(recorder, case, **_untold(case))


def _untold(case: Case) -> Any:
    return {} if case.wire in _READ_HERE else sdks.UNTOLD.get(case.id, {})


def test_every_wire_is_spoken() -> None:
    assert {case.wire for case in CASES} == set(sdks.SYNC)
