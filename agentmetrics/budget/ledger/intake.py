"""Where the ledger hears of ended calls: all that it does while the agent waits."""

from __future__ import annotations

from collections.abc import Callable
from struct import error as StructError  # noqa: N812
from time import perf_counter, time
from typing import Protocol

from agentmetrics.budget.ledger.records import MULTIPLIER, PLAIN, RECORD
from agentmetrics.budget.ledger.segment import Segment, SegmentFullError
from agentmetrics.budget.ledger.spool import Spool
from agentmetrics.budget.ledger.tally import NANO, Numbers, amounts_of, key_of
from agentmetrics.budget.periods import BUCKET_SECONDS
from agentmetrics.calls.facts import LLMCall
from agentmetrics.recording.fork import NOTICED, notice_fork

_SIZE = RECORD.size
_write_plain = PLAIN.pack_into


class Owner(Protocol):
    """Who the records are for."""

    spool: Spool

    def grow(self, full: Segment) -> Segment | None:
        """The segment after a full one; ``None`` when nothing is taken any more."""

    def refuse(self, calls: int) -> None:
        """Count calls with numbers that no database can hold."""

    def miss(self, calls: int) -> None:
        """Count calls that end when nothing is taken any more."""


class Intake:
    """Writes the calls that end at one recorder to the spool.

    ``names`` are those of their extra dimensions, and ``clock`` tells Unix time in seconds.
    """

    __slots__ = ("_clock", "_owner", "names")

    def __init__(
        self, owner: Owner, names: tuple[str, ...], clock: Callable[[], float] = time
    ) -> None:
        self._owner, self.names, self._clock = owner, names, clock

    def hear(self, call: LLMCall) -> None:
        """Take an ended call; answers from a cache are no calls.

        When this returns, the call is on disk, if there is one. No lock is taken: a call that the
        collector ends in the middle of another's end is one place further.
        """
        if call.lookup is not None and call.cached:
            return
        if not NOTICED[0]:
            notice_fork()
        usage, cost = call.usage, call.cost_usd
        ended = self._clock() - perf_counter() + call.ended
        raw = (
            int(ended) // BUCKET_SECONDS, call.agent_name, call.provider, call.model,
            call.served_model, call.status, self.names, call.extra, call.cost_source,
        )  # fmt: skip
        segment = self._owner.spool.segment
        number = segment.numbers.get(raw)
        if number is None or cost is None or usage is None or usage.has_details:
            self._take(call, amounts_of(call), raw, ended)
            return
        used, made = usage.input_tokens, usage.output_tokens
        if used is None or made is None:
            self._take(call, amounts_of(call), raw, ended)
            return
        nano = round(cost * NANO)
        place = segment.next_place()
        try:
            _write_plain(
                segment.buffer, segment.base + place * _SIZE,
                number, 1, 0, 0, used, made, nano,
                number + 1 + used + made + nano + place * MULTIPLIER,
            )  # fmt: skip
        except StructError:  # it is full, or a number is too large
            self._take(call, amounts_of(call), raw, ended)

    def take(self, call: LLMCall, calls: int) -> None:
        """Take what so many calls were together."""
        ended = self._clock() - perf_counter() + call.ended
        raw = key_of(call, self.names, ended)
        self._take(call, amounts_of(call, calls), raw, ended)

    def _take(self, call: LLMCall, amounts: Numbers, raw: object, ended: float) -> None:
        segment: Segment | None = self._owner.spool.segment
        while segment is not None:
            try:
                number = segment.numbers.get(raw)
                if number is None:
                    number = segment.define(raw, key_of(call, self.names, ended))
                segment.append(number, amounts)
            except SegmentFullError:
                segment = self._owner.grow(segment)
            except OverflowError:
                self._owner.refuse(amounts[0])
                return
            else:
                return
        self._owner.miss(amounts[0])
