"""Turns: one thread's at a time, and none inside of another."""

from __future__ import annotations

import threading

from agentmetrics.budget.ledger.turn import Turn


def test_a_turn_is_none_for_what_interrupts_it() -> None:
    turn = Turn()
    assert turn.begin(0.0)
    assert turn.is_own
    assert not turn.begin(60.0)  # at once: whoever has it would wait for itself
    turn.end()
    assert not turn.is_own
    assert turn.begin(0.0)


def test_a_turn_is_waited_for_as_long_as_is_said() -> None:
    turn, begun = Turn(), list[bool]()
    assert turn.begin(0.0)

    def begin(seconds: float) -> None:
        begun.append(turn.begin(seconds))
        assert not turn.is_own or begun[-1]

    thread = threading.Thread(target=begin, args=(0.01,))
    thread.start()
    thread.join(60)
    waits = threading.Thread(target=begin, args=(60.0,))
    waits.start()
    turn.end()
    waits.join(60)
    assert begun == [False, True]
