"""Every recorded response, through the real provider package: what is recorded is what it bills."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.ask import ways
from tests.conformance.case import Case, all_cases
from tests.conformance.judge import bill_of, judge
from tests.conformance.replay import replaying

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
    verdict = judge(case, way, url)
    assert verdict.found == [verdict.expected], f"the model raised {verdict.raised!r}"
    assert verdict.wrong == ()


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in CASES if c.lost])
def test_what_is_lost_is_something_that_the_response_says(case: Case) -> None:
    bill = bill_of(case)
    for name in case.lost:
        assert bill.without((name,), case.model) != bill, name


def test_there_are_at_least_80_cases() -> None:
    assert len(CASES) >= 80
