"""Calls that begin and end in any order: what a blocking budget lets through, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentmetrics import Budget, BudgetExceeded, Budgets, MemoryRecorder, track_call
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.pricing import Prices
from agentmetrics.providers.usage import Usage

INPUT_NANO, OUTPUT_NANO = 2_500, 10_000  # a token of gpt-4o
LIMIT_NANO = 20_000_000
PRICES = Prices()

tokens = st.integers(0, 1000)


@dataclass(frozen=True)
class Begin:
    """A call begins that may use so many tokens."""

    max_input: int
    max_output: int

    @property
    def most_nano(self) -> int:
        return self.max_input * INPUT_NANO + self.max_output * OUTPUT_NANO


@dataclass(frozen=True)
class End:
    """One of the open calls ends, having used a share of what it may, or fails."""

    which: int
    share: float
    fails: bool


steps = st.lists(
    st.one_of(
        st.builds(Begin, tokens, tokens),
        st.builds(End, st.integers(0, 9), st.floats(0, 1), st.booleans()),
    ),
    max_size=60,
)


class World:
    """A budget, the calls that are open under it, and what they should have come to."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.recorder = MemoryRecorder()
        self.budgets = Budgets([budget], self.recorder)
        self.open: list[tuple[Begin, AbstractContextManager[Any], Any]] = []
        self.spent_nano = 0
        self.refused = 0

    @property
    def reserved_nano(self) -> int:
        return sum(begin.most_nano for begin, _, _ in self.open)

    def begin(self, begin: Begin) -> bool:
        """Whether the call was let through."""
        entered = track_call(
            "openai", "gpt-4o", recorder=self.recorder,
            max_input_tokens=begin.max_input, max_output_tokens=begin.max_output,
        )  # fmt: skip
        try:
            call = entered.__enter__()
        except BudgetExceeded:
            self.refused += 1
            return False
        self.open.append((begin, entered, call))
        return True

    def end(self, end: End) -> None:
        if not self.open:
            return
        begin, entered, call = self.open.pop(end.which % len(self.open))
        if end.fails:
            entered.__exit__(ConnectionError, ConnectionError(), None)
            return
        used = int(begin.max_input * end.share), int(begin.max_output * end.share)
        call.record_usage(input_tokens=used[0], output_tokens=used[1])
        entered.__exit__(None, None, None)
        self.spent_nano += used[0] * INPUT_NANO + used[1] * OUTPUT_NANO

    def check(self) -> None:
        status = self.budget.status()
        assert round(status.spent_usd * NANO) == self.spent_nano
        assert round(self.recorder.value("llm_cost_usd_total") * NANO) == self.spent_nano
        assert self.recorder.value("budget_blocked_calls_total") == self.refused


@contextmanager
def world(**options: Any) -> Iterator[World]:
    built = World(Budget("team", LIMIT_NANO / NANO, action="block", thresholds=(), **options))
    try:
        yield built
    finally:
        while built.open:
            built.end(End(0, 1.0, fails=False))
        built.check()
        built.budgets.close()


MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini-transcribe"),  # its audio has other prices, in and out
    ("openai", "gpt-5"),
    ("anthropic", "claude-sonnet-4-5"),  # what it keeps for an hour has one
    ("azure", "phi-4-multimodal-instruct"),
    ("google", "gemini-2.5-pro"),  # above 200 000 tokens all have another
)
shares = st.floats(0, 1)


@given(
    st.sampled_from(MODELS),
    st.sampled_from(["", "priority", "flex"]),
    st.tuples(st.integers(0, 300_000), tokens),
    st.lists(shares, min_size=8, max_size=8),
    st.booleans(),
)
def test_no_call_costs_more_than_the_most_that_its_tokens_can(
    model: tuple[str, str], tier: str, most: tuple[int, int], parts: list[float], is_asked: bool
) -> None:
    served = tier if is_asked else ""
    all_in, all_out = int(most[0] * parts[0]), int(most[1] * parts[1])
    read = int(all_in * parts[2])
    created = int((all_in - read) * parts[3])
    usage = Usage(
        all_in, all_out, read, created, int(created * parts[4]),
        reasoning_tokens=int(all_out * parts[5]),
        audio_input_tokens=int(all_in * parts[6]) if not read + created else 0,
    )  # fmt: skip
    bound = PRICES.most_usd(*model, *most, service_tier=tier)
    cost = PRICES.cost_usd(*model, usage, served)
    assert bound is None or cost is None or cost <= bound


def test_the_most_is_of_the_dearest_tokens_each_way_at_once() -> None:
    usage = Usage(1000, 1000, audio_input_tokens=1000)
    for model in MODELS:
        most, cost = PRICES.most_usd(*model, 1000, 1000), PRICES.cost_usd(*model, usage)
        assert most is not None
        assert cost is None or cost <= most


@given(steps)
def test_what_is_spent_is_known_to_the_nano_dollar_and_stops_the_next_call(
    taken: list[Begin | End],
) -> None:
    with world() as here:
        for step in taken:
            if isinstance(step, Begin):
                assert here.begin(step) == (here.spent_nano < LIMIT_NANO)
            else:
                here.end(step)
            here.check()


@given(steps)
def test_a_budget_that_reserves_is_never_overspent(taken: list[Begin | End]) -> None:
    with world(reserve="max_tokens") as here:
        for step in taken:
            if isinstance(step, Begin):
                taken_nano = here.spent_nano + here.reserved_nano
                fits = taken_nano < LIMIT_NANO and taken_nano + step.most_nano <= LIMIT_NANO
                assert here.begin(step) == fits
            else:
                here.end(step)
            assert round(here.budget.status().reserved_usd * NANO) == here.reserved_nano
            assert here.spent_nano + here.reserved_nano <= LIMIT_NANO
            here.check()
    assert here.spent_nano <= LIMIT_NANO
