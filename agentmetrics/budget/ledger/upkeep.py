"""What the ledger's thread does besides writing, each at its own interval."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from agentmetrics.errors import LedgerUnavailable
from agentmetrics.recording.log_once import LogOnce

MOST_OF_THE_TIME = 0.01
"""What a task takes at most: one that comes to take long is done less often."""


@dataclass
class _Task:
    name: str
    work: Callable[[], None]
    every_seconds: float
    not_before: float = 0.0


class Upkeep:
    """Tasks that are done after a write, the first time after the next one."""

    def __init__(self) -> None:
        self._tasks: tuple[_Task, ...] = ()
        self._problems = LogOnce()

    def add(self, name: str, work: Callable[[], None], every_seconds: float) -> None:
        """Do ``work`` after a write, unless it was done within ``every_seconds``, or within a
        hundred times as long as it took.

        ``name`` is for the warning when it fails, which is logged once.
        """
        self._tasks = (*self._tasks, _Task(name, work, every_seconds))

    def remove(self, work: Callable[[], None]) -> None:
        """Do it no more."""
        self._tasks = tuple(task for task in self._tasks if task.work != work)

    def run(self) -> None:
        """Do what is due. One that fails is no reason to leave out the others."""
        for task in self._tasks:
            begun = time.monotonic()
            if begun >= task.not_before:
                task.not_before = begun + task.every_seconds
                self._run(task)
                rest_seconds = (time.monotonic() - begun) / MOST_OF_THE_TIME
                task.not_before = max(task.not_before, begun + rest_seconds)

    def _run(self, task: _Task) -> None:
        try:
            task.work()
        except Exception as error:
            # A ledger's sentence is made to be shown; what others say is not.
            reason = str(error) if isinstance(error, LedgerUnavailable) else type(error).__name__
            self._problems.warn(task.name, "the ledger's upkeep (%s) failed: %s", task.name, reason)
        else:
            self._problems.over(task.name)
