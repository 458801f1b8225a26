"""Tells people and the user's callbacks that a budget passed a threshold, away from the calls."""

from __future__ import annotations

import inspect
import queue
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial

import anyio

from agentmetrics.budget.budgets.budget import Budget, BudgetStatus
from agentmetrics.budget.notify.courier import Claim, Courier
from agentmetrics.budget.notify.destination import Destination
from agentmetrics.budget.notify.notice import Notice, NoticeKind, id_of
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.fork import ForkAware, held_lock, watch_forks
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")

_Notice = tuple[Budget, BudgetStatus, float]
JOIN_SECONDS = 5.0


class Notices(ForkAware):
    """Logs each notice at once, and has it taken to the budget's callback and destinations.

    Callbacks are called in one daemon thread, and each destination has its own. ``claim`` is asked
    before a notice leaves the process, and ``count_lost`` called for one that never arrives. Raises
    ``ValueError`` when a destination has no usable URL.
    """

    def __init__(
        self, budgets: Iterable[Budget], claim: Claim, count_lost: Callable[[], None]
    ) -> None:
        self._couriers = {
            destination: Courier(destination, claim, count_lost)
            for destination in destinations_of(budgets)
        }
        self._starting = held_lock()
        self._begin()
        watch_forks(self)

    def _begin(self) -> None:
        self._waiting: queue.SimpleQueue[_Notice | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def after_fork_in_child(self) -> None:
        self._begin()  # the thread is the parent's, and so is what waits

    def tell(self, budget: Budget, status: BudgetStatus, threshold: float) -> None:
        """Say that ``budget`` stands at ``threshold`` percent or above."""
        logger.warning(
            "the %s budget %r passed %g%%: %.6f of %.6f USD%s",
            budget.period, budget.name, threshold, status.spent_usd, status.limit_usd,
            _overspent(budget, status) if threshold >= 100 else "",
        )  # fmt: skip
        for destination in budget.destinations():
            kind: NoticeKind = "exceeded" if threshold >= 100 else "threshold"
            self._couriers[destination].send(notice_of(kind, budget, status, threshold))
            close_at_exit(self)
        if budget.on_threshold is not None:
            self._waiting.put((budget, status, threshold))
            self._ensure_thread()

    def tell_unpriced(self, budget: Budget, calls: int) -> None:
        """Say that so many calls of ``budget`` are not in what it has spent."""
        logger.warning(
            "the %s budget %r does not see what %d of its calls cost: they used tokens and have no "
            "known price; give their models one in AGENTMETRICS_PRICES_FILE",
            budget.period, budget.name, calls,
        )  # fmt: skip

    def _ensure_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_deliver, args=(self._waiting,), name="agentmetrics-budgets", daemon=True
                )
                self._thread.start()
                close_at_exit(self)

    def close(self) -> None:
        """Deliver what is waiting and end the threads; returns after at most 5 s."""
        skip_at_exit(self)
        deadline = time.monotonic() + JOIN_SECONDS
        waits = [courier.close() for courier in self._couriers.values()]
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(JOIN_SECONDS)
        for wait in waits:
            wait(max(0.0, deadline - time.monotonic()))


def destinations_of(budgets: Iterable[Budget]) -> list[Destination]:
    """Where these budgets' notices go, each once.

    Raises ``ValueError`` when the variable of one does not hold a usable URL.
    """
    found: dict[Destination, None] = {}
    for budget in budgets:
        for destination in budget.destinations():
            try:
                destination.url()
            except ValueError as error:
                raise ValueError(
                    f"budget {budget.name!r}: notify={str(destination)!r}: {error}"
                ) from None
            found[destination] = None
    return list(found)


def notice_of(
    kind: NoticeKind, budget: Budget, status: BudgetStatus, threshold: float | None
) -> Notice:
    """What people are told; names are as metrics have them."""
    scope = {clean_label(label): clean_label(value) for label, value in budget.scope.items()}
    began = int(status.starts_at.timestamp())
    return Notice(
        # A limit that was changed makes another budget of it: what it passes now is news.
        id_of(budget.name, budget.period, scope, budget.limit_nano, began, kind, threshold),
        kind,
        clean_label(budget.name),
        budget.period,
        scope,
        budget.action,
        threshold,
        status.spent_usd,
        status.limit_usd,
        status.remaining_usd,
        status.starts_at,
        status.resets_at,
    )


def _overspent(budget: Budget, status: BudgetStatus) -> str:
    """What to say of a budget that blocks and is overspent."""
    if budget.action != "block" or status.spent_usd <= status.limit_usd:
        return ""
    if status.ledger_read_at is None:
        return "; calls under way when it was reached are over it"
    return (
        "; calls under way when it was reached are over it, also those of other processes up to "
        "their next flush"
    )


def trial_notice(budget: Budget, status: BudgetStatus) -> Notice:
    """What shows that notices of a budget arrive; no two are the same."""
    return replace(notice_of("test", budget, status, None), id=uuid.uuid4().hex)


def _deliver(waiting: queue.SimpleQueue[_Notice | None]) -> None:
    while (notice := waiting.get()) is not None:
        budget, status, threshold = notice
        try:
            _call(budget, status, threshold)
        except BaseException as error:  # a SystemExit, too, is to end no more than the callback
            logger.warning(
                "the on_threshold callback of budget %r failed: %s",
                budget.name,
                type(error).__name__,
            )


def _call(budget: Budget, status: BudgetStatus, threshold: float) -> None:
    assert budget.on_threshold is not None
    result = budget.on_threshold(status, threshold)
    if inspect.isawaitable(result):
        anyio.run(partial(_awaited, result))


async def _awaited(result: Awaitable[object]) -> None:
    await result
