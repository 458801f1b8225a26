"""Turns: one thread's at a time, and none inside of another."""

from __future__ import annotations

import threading

import pytest

from agentmetrics.budget.ledger.turn import Turn


def test_a_turn_is_none_for_what_interrupts_it() -> None:
    turn, seen = Turn(), list[bool]()

    def work() -> None:
        seen.append(turn.is_own)
        # At once: whoever has it would wait for itself.
        seen.append(turn.take(60.0, lambda: seen.append(True)))
        seen.append(turn.is_own)

    assert turn.take(0.0, work)
    assert seen == [True, False, True]
    assert not turn.is_own
    assert turn.take(0.0, seen.clear)


def test_a_turn_is_waited_for_as_long_as_is_said() -> None:
    turn, taken, waits = Turn(), list[bool](), list[threading.Thread]()

    def take(seconds: float) -> None:
        taken.append(turn.take(seconds, lambda: None))

    def work() -> None:
        for seconds in (0.01, 60.0):
            waits.append(threading.Thread(target=take, args=(seconds,)))
            waits[-1].start()
        waits[0].join(60)

    assert turn.take(0.0, work)
    waits[1].join(60)
    assert taken == [False, True]


def test_work_that_raises_ends_its_turn() -> None:
    turn = Turn()

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turn.take(0.0, fail)
    assert not turn.is_own
    assert turn.take(0.0, lambda: None)
