"""Gauges of what is in flight: read from the open facts at collection, so they cannot drift."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from agentmetrics.meters.base import Instruments
from agentmetrics.recording.metric import Metric


class AgentsOwn(Protocol):
    """A fact of an agent; ``started`` is on the clock of the calls."""

    @property
    def agent_name(self) -> str: ...
    @property
    def started(self) -> float: ...


F = TypeVar("F")
A = TypeVar("A", bound=AgentsOwn)
Labels = tuple[str, ...]
OpenFacts = Callable[[], Iterable[object]]
"""Gives every fact that is open now."""


class _OpenGauge(ABC, Generic[F]):
    """A gauge of the open facts of one kind, by label values.

    Nothing is counted up when a fact opens and down when it ends: the gauge returns to zero
    because the table of open facts is empty, whatever happened.
    """

    def __init__(self, make: Instruments, metric: Metric, kind: type[F]) -> None:
        self._make, self._metric, self._kind = make, metric, kind
        self._seen: dict[Labels, float] = {}

    def show(self, labels: Labels) -> None:
        """From now on show these label values, with 0 while nothing is open."""
        if len(self._seen) < self._make.max_series:
            self._seen[labels] = 0.0

    def follow(self, open_facts: OpenFacts) -> None:
        """Look at these at every collection."""
        self._make.observe(self._metric, partial(self._all, open_facts))

    def _all(self, open_facts: OpenFacts) -> dict[Labels, float]:
        read = self._read(fact for fact in open_facts() if isinstance(fact, self._kind))
        for labels in read:
            self.show(labels)
        return {**self._seen, **read}

    @abstractmethod
    def _read(self, facts: Iterable[F]) -> Mapping[Labels, float]:
        """The gauge by label values, of those that have something open."""


class InFlight(_OpenGauge[F]):
    """How many facts of one kind are open, by label values."""

    def __init__(
        self, make: Instruments, metric: Metric, kind: type[F], labels_of: Callable[[F], Labels]
    ) -> None:
        super().__init__(make, metric, kind)
        self._labels_of = labels_of

    def _read(self, facts: Iterable[F]) -> Mapping[Labels, float]:
        return Counter(map(self._labels_of, facts))


class Oldest(_OpenGauge[A]):
    """The age in seconds of the oldest open fact of one kind, by agent."""

    def _read(self, facts: Iterable[A]) -> Mapping[Labels, float]:
        began: dict[Labels, float] = {}
        for fact in facts:
            labels = (fact.agent_name,)
            began[labels] = min(fact.started, began.get(labels, fact.started))
        now = perf_counter()  # after the facts, none of which is from later
        return {labels: now - started for labels, started in began.items()}
