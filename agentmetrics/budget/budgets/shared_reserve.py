"""What this process has reserved in the ledger for its calls, until the ledger has their cost."""

from __future__ import annotations

import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentmetrics.budget.budgets.earlier import LATE_SECONDS, OLDEST_SECONDS, Earlier
from agentmetrics.budget.ledger.demand import ANSWER_SECONDS, LEASE_SECONDS, Demand, Refusal
from agentmetrics.budget.ledger.tally import dimensions_text
from agentmetrics.calls.facts import LLMCall
from agentmetrics.errors import LedgerUnavailable
from agentmetrics.recording.deadline import InTime
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.fork import ForkAware, ForkSafeLock, watch_forks
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.periodic import PeriodicFlush

if TYPE_CHECKING:
    from agentmetrics.budget.ledger.ledger import Ledger
    from agentmetrics.budget.ledger.reservations import Reservations

SETTLE_SECONDS = 0.25
"""How often reservations are replaced by what their calls cost."""
PAUSE_SECONDS = 5.0
"""How long nobody asks a database that did not answer: each call would wait for it."""
IDLE_SECONDS = 60.0
"""How long the connection is kept that nobody uses."""


def labels_of(call: LLMCall, extra_labels: Sequence[str]) -> dict[str, str]:
    """The labels that a call has before it is made, as a row of the ledger has them."""
    extra = dict(zip(extra_labels, map(clean_label, call.extra), strict=False))
    return {
        "agent_name": clean_label(call.agent_name),
        "provider": clean_label(call.provider),
        "model": clean_label(call.model),
        "dimensions": dimensions_text(extra),
    }


@dataclass(eq=False)
class Lease:
    """What is reserved for a call for as long as somebody holds this, and until a lease ends."""

    id: str


@dataclass(eq=False)
class _Attempt:
    """One attempt to reserve, which may be over before its answer comes."""

    id: str
    refusal: Refusal | None = None
    is_answered: bool = False
    is_given_up: bool = False


class SharedReserve(ForkAware):
    """Reserves in the ledger's database, and gives back once the cost of a call is written there.

    In this order a process can only seem to have spent too much. What one leaves that is killed
    holds for ``LEASE_SECONDS``.
    """

    def __init__(self, ledger: Ledger, reservations: Reservations) -> None:
        self._ledger, self._reservations = ledger, reservations
        self._earlier = Earlier(ledger.cost_nano_usd)
        self._rounds = _Rounds(self)
        self._lock = ForkSafeLock()
        self._periodic: PeriodicFlush | None = None
        self._is_closed = False
        self._begin()
        ledger.upkeep.add("expired reservations", self._forget_expired, 3600.0)
        watch_forks(self)

    def _begin(self) -> None:
        # A call may be interrupted that nobody settles then: what nobody holds is not renewed.
        self._held: weakref.WeakValueDictionary[str, Lease] = weakref.WeakValueDictionary()
        self._settled: dict[str, float] = {}
        """When each call ended (Unix time) that is not written yet, as far as is known."""
        self._written: dict[str, float] = {}
        """When each reservation is given back (monotonic time) whose call is written."""
        self._not_before = 0.0
        self._renew_at = self._used_at = 0.0
        self._is_connected = False

    def after_fork_in_child(self) -> None:
        self._begin()  # what is reserved is for calls of the parent's, which renews it

    def take(
        self, labels: Mapping[str, str], nano_usd: int, demands: Sequence[Demand]
    ) -> Lease | Refusal:
        """Reserve for a call; what is to be settled when it has ended.

        Raises ``LedgerUnavailable`` when that takes longer than ``ANSWER_SECONDS``, and at once
        within ``PAUSE_SECONDS`` of that.
        """
        if time.monotonic() < self._not_before:
            raise LedgerUnavailable("the ledger did not answer a moment ago")
        attempt = _Attempt(uuid.uuid4().hex)

        def reserve() -> None:
            told = [self._earlier.told(demand) for demand in demands]
            refusal = self._reservations.take(attempt.id, labels, nano_usd, told)
            with self._lock:
                attempt.refusal, attempt.is_answered = refusal, True
                if attempt.is_given_up:
                    self._settled[attempt.id] = time.time()

        self._begin_thread()
        try:
            InTime(reserve).run(ANSWER_SECONDS)
        except BaseException as error:  # an interrupt, too, leaves nobody to settle it
            self._give_up(attempt)
            if isinstance(error, LedgerUnavailable):
                self._not_before = time.monotonic() + PAUSE_SECONDS
            raise
        with self._lock:
            if not attempt.is_answered:
                self._give_up(attempt)
                self._not_before = time.monotonic() + PAUSE_SECONDS
                raise LedgerUnavailable(f"the ledger did not answer within {ANSWER_SECONDS:g} s")
            if attempt.refusal is not None:
                return attempt.refusal
            if not self._held:
                self._renew_at = time.monotonic() + LEASE_SECONDS / 4
            lease = self._held[attempt.id] = Lease(attempt.id)
            return lease

    def _give_up(self, attempt: _Attempt) -> None:
        with self._lock:
            attempt.is_given_up = True
            self._settled[attempt.id] = time.time()  # who knows whether it was committed

    def _begin_thread(self) -> None:
        with self._lock:
            self._used_at, self._is_connected = time.monotonic(), True
            if self._periodic is None and not self._is_closed:
                with suppress(RuntimeError):  # no more threads: close() settles
                    self._periodic = PeriodicFlush(self._rounds, SETTLE_SECONDS)
        close_at_exit(self)

    def settle(self, lease: Lease) -> None:
        """Let a reservation end whose call has ended, and was heard of by the ledger. No I/O."""
        with self._lock:
            if self._held.get(lease.id) is lease:  # else it is the parent's
                self._settled[lease.id] = time.time()
                del self._held[lease.id]

    def flush(self) -> None:
        """Have written what has ended, and give back what was reserved for it."""
        with suppress(LedgerUnavailable):  # counted and logged by the ledger; a lease ends
            self._settle()

    def go_round(self) -> None:
        """What the thread does, now and then. Raises ``LedgerUnavailable``."""
        now = time.monotonic()
        self._renew(now)
        self._settle()
        self._earlier.refresh()
        if self._is_connected and now - self._used_at > IDLE_SECONDS:
            self._is_connected = False
            self._reservations.disconnect()

    def _settle(self) -> None:
        with self._lock:
            settled = dict(self._settled)
        if settled:
            self._ledger.flush()
            written, now = time.monotonic(), time.time()
            with self._lock:
                for id_, ended in settled.items():
                    self._settled.pop(id_, None)
                    is_late = not 0 <= now - ended < LATE_SECONDS
                    self._written[id_] = written + 2 * OLDEST_SECONDS if is_late else written
        now = time.monotonic()
        with self._lock:
            released = {id_ for id_, at in self._written.items() if at <= now}
        if released:
            self._reservations.release(released)
            with self._lock:
                for id_ in released:
                    self._written.pop(id_, None)  # close() may be at it as well

    def _renew(self, now: float) -> None:
        with self._lock:
            held = {*self._held, *self._settled, *self._written}
        if held and now >= self._renew_at:
            self._reservations.renew(held)
            self._renew_at = now + LEASE_SECONDS / 4

    def _forget_expired(self) -> None:
        """What the ledger's thread does every hour, also where nothing is ever reserved."""
        self._reservations.forget_expired()
        with self._lock:
            is_connected = self._is_connected
        if not is_connected:
            self._reservations.disconnect()

    def close(self) -> None:
        """Settle what has ended; what is open holds until its lease ends. Waits two seconds."""
        skip_at_exit(self)
        with self._lock:
            self._is_closed = True
            periodic, self._periodic = self._periodic, None
        if periodic is not None:
            periodic.stop()
            InTime(self.flush).run(ANSWER_SECONDS)
        self._ledger.upkeep.remove(self._forget_expired)
        self._reservations.close()


class _Rounds:
    """The thread's rounds, with a pause after each that is as long as the database needs it."""

    def __init__(self, reserve: SharedReserve) -> None:
        self._reserve = reserve
        self._not_before = 0.0

    def flush(self) -> None:
        """Go round, unless it is too early for that."""
        began = time.monotonic()
        if began < self._not_before:
            return
        try:
            self._reserve.go_round()
        except LedgerUnavailable:  # counted and logged by the ledger
            self._not_before = began + PAUSE_SECONDS
        else:  # however long the ledger's sums are, they are made a quarter of the time at most
            ended = time.monotonic()
            self._not_before = ended + 3 * (ended - began)
