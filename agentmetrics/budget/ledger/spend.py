"""The spend of a scope in a span of time, kept current: what budgets read before every call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agentmetrics.budget.ledger.tally import Key
from agentmetrics.pricing.names import is_meant

CALL_LABELS = ("agent_name", "provider", "model")


@dataclass(frozen=True)
class CallFilter:
    """Which calls: those that have all of these values; what is ``None`` may be anything."""

    agent_name: str | None = None
    provider: str | None = None
    model: str | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: Mapping[str, str]) -> CallFilter:
        """Those that have these labels; labels that are not the ledger's own are dimensions."""
        named = {label: scope.get(label) for label in CALL_LABELS}
        more = {label: value for label, value in scope.items() if label not in CALL_LABELS}
        return cls(**named, dimensions=more)

    def columns(self) -> dict[str, str]:
        """The columns of the ledger that have one value, and that value.

        The model's is not among them: several names may mean one model.
        """
        own = {"agent_name": self.agent_name, "provider": self.provider}
        return {name: value for name, value in own.items() if value is not None}

    def takes(
        self,
        agent_name: str,
        provider: str,
        model: str,
        served_model: str,
        dimensions: Mapping[str, str],
    ) -> bool:
        """Whether a call with these labels belongs to it, by the model that was asked for or the
        one that served."""
        return (
            self.agent_name in (None, agent_name)
            and self.provider in (None, provider)
            and (self.model is None or self._means(provider, model, served_model))
            and all(dimensions.get(name, "") == value for name, value in self.dimensions.items())
        )

    def _means(self, provider: str, *models: str) -> bool:
        wanted = self.model or ""
        return any(model and is_meant(provider, wanted, model) for model in models)

    def covers(self, key: Key) -> bool:
        """Whether a row belongs to it."""
        dimensions = json.loads(key.dimensions)
        return self.takes(key.agent_name, key.provider, key.model, key.served_model, dimensions)


class Spent(NamedTuple):
    """A sum of costs in 10⁻⁹ USD, and how many calls are not in it for want of a price."""

    nano_usd: int
    unpriced_calls: int

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self[0] + other[0], self[1] + other[1])


class Spend:
    """What a scope has spent from ``start`` until ``end`` (Unix seconds, quarters of an hour).

    It combines what the database reported at the last flush, which includes other processes, with
    the calls of this process that have ended since. Made by ``Ledger.follow``; drop the reference
    to stop following.
    """

    def __init__(self, scope: CallFilter, start: int, end: int, fold: Callable[[], None]) -> None:
        self.scope, self.start, self.end = scope, start, end
        self.read_at: float | None = None
        """When the database last said what is written (Unix seconds); until it has, the spend is
        this process' alone."""
        self._fold = fold
        self._nano_usd = 0
        self._unpriced_calls = 0

    @property
    def is_current(self) -> bool:
        """Whether the database has said anything at all."""
        return self.read_at is not None

    @property
    def nano_usd(self) -> int:
        """The current spend, in 10⁻⁹ USD, including every finished call; no I/O."""
        self._fold()
        return self._nano_usd

    @property
    def unpriced_calls(self) -> int:
        """How many finished calls used tokens and are not in the sum, for want of a price; no
        I/O."""
        self._fold()
        return self._unpriced_calls

    def covers(self, key: Key) -> bool:
        """Whether what a row costs belongs to it."""
        return self.start <= key.bucket < self.end and self.scope.covers(key)

    def begin(self, waiting: Spent) -> None:
        """Begin with what waits to be written; what the database has is added by ``refresh``."""
        self._nano_usd, self._unpriced_calls = waiting

    def add(self, nano_usd: int) -> None:
        self._nano_usd += nano_usd

    def miss(self, calls: int) -> None:
        """Count calls that have no price."""
        self._unpriced_calls += calls

    def refresh(self, known: Spent) -> None:
        """Begin anew from what the database and the rows that wait add up to."""
        self._nano_usd, self._unpriced_calls = known
        self.read_at = time.time()
