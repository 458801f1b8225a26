"""Every recorded response without LangChain: what is recorded is what it bills, in every form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.case import Bill, Case, all_cases
from tests.conformance.without import BODIES, STREAMS, expected_of, forms, record

CASES = [case for case in all_cases() if not case.failed]


@pytest.mark.parametrize(
    ("case", "method", "form"),
    [pytest.param(c, *way, id="-".join((c.id, *way))) for c in CASES for way in forms(c)],
)
def test_what_is_recorded_is_what_the_raw_response_bills(
    case: Case, method: str, form: str
) -> None:
    found, not_understood = record(case, method, form)
    expected = expected_of(case, form)
    assert [_comparable(one, expected) for one in found] == [expected]
    assert not_understood == 0


def _comparable(found: Bill, expected: Bill) -> Bill:
    """Nothing tells of the time; the model is that of the response, also where LangChain drops it
    with an error."""
    found = replace(found, api_seconds=None)
    return found if expected.status == "success" else replace(found, model=expected.model)


def test_every_form_is_used() -> None:
    assert {form for case in CASES for _, form in forms(case)} == {*BODIES, *STREAMS, "events"}
