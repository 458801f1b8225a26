"""Gauges of what is in flight: counted from the open facts at collection, so they cannot drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Generic, TypeVar

from agentmetrics.meters.base import Instruments
from agentmetrics.recording.metric import Metric

F = TypeVar("F")
Labels = tuple[str, ...]
Age = tuple[str, float]
"""An agent's name, and when something of it began, on the clock of the calls."""
OpenFacts = Callable[[], Iterable[object]]
"""Gives every fact that is open now."""


class Oldest(Generic[F]):
    """How old the oldest open fact of one kind is, by agent."""

    def __init__(
        self, make: Instruments, metric: Metric, kind: type[F], age_of: Callable[[F], Age]
    ) -> None:
        self._make, self._metric = make, metric
        self._kind, self._age_of = kind, age_of
        self._seen: dict[Labels, float] = {}

    def show(self, agent_name: str) -> None:
        """From now on show this agent, with 0 while nothing of it is open."""
        if len(self._seen) < self._make.max_series:
            self._seen[(agent_name,)] = 0.0

    def follow(self, open_facts: OpenFacts) -> None:
        """Look at these at every collection."""
        self._make.observe(self._metric, partial(self._ages, open_facts))

    def _ages(self, open_facts: OpenFacts) -> dict[Labels, float]:
        now, ages = perf_counter(), dict(self._seen)
        for fact in open_facts():
            if isinstance(fact, self._kind):
                agent_name, started = self._age_of(fact)
                self.show(agent_name)
                labels = (agent_name,)
                ages[labels] = max(ages.get(labels, 0.0), now - started)
        return ages


class InFlight(Generic[F]):
    """How many facts of one kind are open, by label values.

    Nothing is counted up when a fact opens and down when it ends: the gauge returns to zero
    because the table of open facts is empty, whatever happened.
    """

    def __init__(
        self, make: Instruments, metric: Metric, kind: type[F], labels_of: Callable[[F], Labels]
    ) -> None:
        self._make, self._metric = make, metric
        self._kind, self._labels_of = kind, labels_of
        self._seen: dict[Labels, float] = {}

    def show(self, labels: Labels) -> None:
        """From now on show these label values, with 0 while nothing is open."""
        if len(self._seen) < self._make.max_series:
            self._seen[labels] = 0.0

    def follow(self, open_facts: OpenFacts) -> None:
        """Count these at every collection."""
        self._make.observe(self._metric, partial(self._count, open_facts))

    def _count(self, open_facts: OpenFacts) -> dict[Labels, float]:
        counts = Counter(self._labels_of(f) for f in open_facts() if isinstance(f, self._kind))
        for labels in counts:
            self.show(labels)
        return {**self._seen, **counts}
