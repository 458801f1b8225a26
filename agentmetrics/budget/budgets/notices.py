"""Tells the user's callbacks that a budget passed a threshold, away from the calls' own threads."""

from __future__ import annotations

import inspect
import logging
import queue
import threading
from collections.abc import Awaitable
from functools import partial

import anyio

from agentmetrics.budget.budgets.budget import Budget, BudgetStatus
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.fork import ForkAware, watch_forks

logger = logging.getLogger("agentmetrics")

_Notice = tuple[Budget, BudgetStatus, float]
JOIN_SECONDS = 5.0


class Notices(ForkAware):
    """Logs each notice at once and hands it to the budget's callback in one daemon thread."""

    def __init__(self) -> None:
        self._begin()
        watch_forks(self)

    def _begin(self) -> None:
        self._waiting: queue.SimpleQueue[_Notice | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def after_fork_in_child(self) -> None:
        self._begin()  # the thread is the parent's, and so is what waits

    def tell(self, budget: Budget, status: BudgetStatus, threshold: float) -> None:
        """Say that ``budget`` stands at ``threshold`` percent or above."""
        logger.warning(
            "the %s budget %r passed %g%%: %.6f of %.6f USD",
            budget.period, budget.name, threshold, status.spent_usd, status.limit_usd,
        )  # fmt: skip
        if budget.on_threshold is not None:
            self._waiting.put((budget, status, threshold))
            self._ensure_thread()

    def _ensure_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_deliver, args=(self._waiting,), name="agentmetrics-budgets", daemon=True
                )
                self._thread.start()
                close_at_exit(self)

    def close(self) -> None:
        """Deliver what is waiting and end the thread; returns after at most 5 s."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(JOIN_SECONDS)
            skip_at_exit(self)


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
