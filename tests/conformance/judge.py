"""A case run in one way: what was recorded of it, beside what it bills."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from agentmetrics import MetricsCallbackHandler
from tests.conformance.ask import ask
from tests.conformance.case import Bill, Case
from tests.conformance.cost import told_cost
from tests.conformance.finish import finish_reason
from tests.conformance.reading import own_recorder, recorded
from tests.conformance.wires import WIRES


@dataclass(frozen=True)
class Verdict:
    """``found`` holds one bill for every call that was counted; one is right."""

    expected: Bill
    found: list[Bill]
    still_active: float
    raised: Exception | None

    @property
    def wrong(self) -> tuple[str, ...]:
        """What is not exact, by the names of a bill's fields."""
        if len(self.found) != 1:
            return ("calls",)
        (found,) = self.found
        names = [field.name for field in fields(Bill)]
        wrong = [n for n in names if getattr(found, n) != getattr(self.expected, n)]
        wrong += ["active"] * bool(self.still_active)
        wrong += ["status"] * (self.raised is not None and self.expected.status != "error")
        return tuple(wrong)


def judge(case: Case, way: str, url: str) -> Verdict:
    """Run a case against the server at ``url`` with a handler of agentmetrics."""
    recorder = own_recorder()
    raised = ask(case, way, url, [MetricsCallbackHandler(recorder)])
    expected, found = expected_of(case), recorded(recorder)
    if expected.api_seconds is None:  # then it is the caller's view, which no response can say
        found = [replace(one, api_seconds=None) for one in found]
    if expected.cost is None:
        found = [replace(one, cost=None) for one in found]
    return Verdict(
        expected,
        found,
        recorder.value("llm_active_calls"),
        raised,
    )


def expected_of(case: Case) -> Bill:
    """What a handler has to record of a case."""
    return bill_of(case).without(case.lost, case.asked or case.model)


def bill_of(case: Case) -> Bill:
    """What a response says of its call; only a success ends for a reason of the model's."""
    told = told_cost(case)
    bill = replace(WIRES[case.wire].bill(case), cost=case.cost if told is None else told)
    return replace(bill, finish_reason=finish_reason(case)) if bill.status == "success" else bill
