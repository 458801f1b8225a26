"""Takes notices to one destination, away from the calls' own threads, and never the same twice."""

from __future__ import annotations

import queue
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from agentmetrics.budget.notify.destination import Destination
from agentmetrics.budget.notify.notice import Notice
from agentmetrics.budget.notify.post import Undelivered, post
from agentmetrics.errors import LedgerUnavailable
from agentmetrics.recording.fork import ForkAware, held_lock, watch_forks
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")

MAX_WAITING = 100
MAX_TRIES = 20
PATIENCE_SECONDS = 3600.0
"""How long after a threshold was passed its notice is still worth sending."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
CLOSING_PAUSE_SECONDS = 0.5
"""Between two attempts once the program ends, which does not wait for long."""

Claim = Callable[[str, str], bool]
"""Asks for the right to send what the first argument names; the second is who asks, so that asking
again after a lost answer is no second claim. Raises ``LedgerUnavailable``."""


def unclaimed(what: str, claimant: str) -> bool:
    """Where there is no ledger, nobody else sends it."""
    return True


@dataclass
class _Job:
    notice: Notice
    claimant: str = field(default_factory=lambda: uuid.uuid4().hex)
    told_at: float = field(default_factory=time.monotonic)
    tries: int = 0
    is_claimed: bool = False


class Courier(ForkAware):
    """Sends notices one after the other in a daemon thread, which the first one starts.

    A notice is claimed before it is sent: of several processes with one ledger one sends it, and if
    that one dies before it has, nobody does. Raises ``ValueError`` when the URL cannot be used.
    """

    def __init__(
        self, destination: Destination, claim: Claim, count_lost: Callable[[], None]
    ) -> None:
        self._destination, self._url = destination, destination.url()
        self._claim, self._count_lost = claim, count_lost
        self._problems = LogOnce()
        self._starting = held_lock()
        self._begin()
        watch_forks(self)

    def _begin(self) -> None:
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def after_fork_in_child(self) -> None:
        self._begin()  # the thread is the parent's, and so is what waits

    def send(self, notice: Notice) -> None:
        """Send it as soon as possible; returns at once. Past ``MAX_WAITING``, it is lost."""
        if self._waiting.qsize() >= MAX_WAITING:
            self._lose(notice, f"{MAX_WAITING} others are waiting")
            return
        try:
            self._ensure_thread()
        except RuntimeError:  # no more threads, as at the exit of a program
            self._lose(notice, "no thread could be started")
            return
        self._waiting.put(_Job(notice))

    def _ensure_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run,
                    args=(self._waiting, self._closing),
                    name=f"agentmetrics-notify-{self._destination.kind}",
                    daemon=True,
                )
                thread.start()
                self._thread = thread

    def close(self) -> Callable[[float], None]:
        """Begin to end: what waits is sent without long pauses.

        Returns how to wait for that, for at most so many seconds.
        """
        thread, waiting, closing = self._thread, self._waiting, self._closing
        self._begin()
        closing.set()
        waiting.put(None)

        def wait(seconds: float) -> None:
            if thread is None:
                return
            thread.join(seconds)
            if thread.is_alive():
                logger.warning("budget notices to %s were still being sent", self._destination)

        return wait

    def _run(self, waiting: queue.SimpleQueue[_Job | None], closing: threading.Event) -> None:
        while (job := waiting.get()) is not None:
            try:
                self._deliver(job, closing)
            except Exception as error:
                self._lose(job.notice, type(error).__name__)

    def _deliver(self, job: _Job, closing: threading.Event) -> None:
        while (problem := self._try(job)) is not None:
            pause = _pause(job.tries, problem.wait_seconds)
            waited = time.monotonic() - job.told_at
            is_over = job.tries >= MAX_TRIES or waited + pause > PATIENCE_SECONDS
            if is_over or not problem.may_retry:
                self._lose(job.notice, str(problem))
                return
            if closing.wait(pause):
                time.sleep(CLOSING_PAUSE_SECONDS)

    def _try(self, job: _Job) -> Undelivered | None:
        """Send it, unless somebody else does; what came in the way."""
        job.tries += 1
        try:
            if not job.is_claimed:
                job.is_claimed = self._claim(f"{job.notice.id} {self._destination}", job.claimant)
                if not job.is_claimed:
                    return None
            post(self._url, job.notice.body(self._destination.kind))
        except LedgerUnavailable:
            reason = "the ledger does not tell whether another process has sent it"
            return Undelivered(reason, may_retry=True)
        except Undelivered as error:
            return error
        self._problems.over(job.notice.budget)
        return None

    def _lose(self, notice: Notice, reason: str) -> None:
        self._problems.warn(
            notice.budget, "a notice of budget %r to %s was not delivered: %s",
            notice.budget, self._destination, reason,
        )  # fmt: skip
        self._count_lost()


def _pause(tries: int, asked_seconds: float) -> float:
    """Twice as long after every attempt, not the same in every process, and not too short."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (tries - 1))
    return max(random.uniform(longest / 2, longest), min(asked_seconds, LONGEST_PAUSE_SECONDS))
