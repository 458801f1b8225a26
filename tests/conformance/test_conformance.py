"""Every recorded response, through the real provider package: what is recorded is what it bills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from tests.conformance.ask import ask, ways
from tests.conformance.case import Case, all_cases
from tests.conformance.reading import recorded
from tests.conformance.replay import replaying
from tests.conformance.wires import WIRES

CASES = list(all_cases())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with replaying() as at:
        yield at


# The packages warn of models that a provider will retire.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("case", "way"), [pytest.param(c, w, id=f"{c.id}-{w}") for c in CASES for w in ways(c)]
)
def test_what_is_recorded_is_what_the_raw_response_bills(case: Case, way: str, url: str) -> None:
    recorder = MemoryRecorder()
    raised = ask(case, way, url, [MetricsCallbackHandler(recorder)])
    bill = WIRES[case.wire].bill(case).without(case.lost, case.model)
    found = recorded(recorder)
    if bill.api_seconds is None:  # then it is the caller's view, which no response can say
        found = [replace(one, api_seconds=None) for one in found]
    assert found == [bill], f"the model raised {raised!r}"
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert recorder.value("llm_active_calls") == 0
    assert (raised is not None) == (bill.status == "error")


def test_there_are_at_least_80_cases() -> None:
    assert len(CASES) >= 80
