"""Calls added up: the rows of the ledger, as they grow in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from agentmetrics.budget.periods import BUCKET_SECONDS
from agentmetrics.calls.facts import LLMCall
from agentmetrics.recording.layers.cardinality import OTHER
from agentmetrics.recording.metric import clean_label

NANO = 1_000_000_000
"""Nano-dollars in a dollar; money is kept as a whole number of them."""
MAX_ROWS = 20_000
"""Rows that wait to be written; past it calls of new rows go to rows whose names are ``other``."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Sums over calls. Details are parts of input or output tokens; do not add them to those.

    ``unpriced_calls`` used tokens but have no known price, ``unmetered_calls`` lack a token count;
    their cost is excluded from totals. Where no call has a known cost, ``cost_is_known`` is
    ``False`` and the cost of 0 says nothing.
    """

    calls: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0
    cache_creation_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    cost_nano_usd: int = 0

    @property
    def cost_usd(self) -> Decimal:
        """The cost in USD, exactly."""
        return Decimal(self.cost_nano_usd).scaleb(-9)

    @property
    def cost_is_known(self) -> bool:
        """Whether the cost is that of at least one call, or of none because there was none."""
        unknown = self.unpriced_calls + self.unmetered_calls
        return bool(self.cost_nano_usd) or not self.calls or unknown < self.calls

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*(getattr(self, name) + getattr(other, name) for name in AMOUNTS))

    def as_dict(self) -> dict[str, Any]:
        """Plain data; ``cost_usd`` is a float for reading, ``cost_nano_usd`` is exact.

        Both are ``None`` unless ``cost_is_known``.
        """
        sums = {name: getattr(self, name) for name in AMOUNTS}
        if not self.cost_is_known:
            return sums | {"cost_nano_usd": None, "cost_usd": None}
        return sums | {"cost_usd": float(self.cost_usd)}


AMOUNTS = tuple(field.name for field in fields(Amounts))


class Key(NamedTuple):
    """What a row is of. ``bucket`` is its first second (Unix time), ``dimensions`` JSON.

    ``model`` is the one that was asked for, ``served_model`` the one that the response named.
    """

    bucket: int
    agent_name: str
    provider: str
    model: str
    served_model: str
    status: str
    dimensions: str


def dimensions_text(dimensions: Mapping[str, str]) -> str:
    """Extra dimensions as JSON, the same text for the same dimensions; empty values say nothing."""
    said = {name: value for name, value in dimensions.items() if value}
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


class Follower(Protocol):
    """A sum that grows with the rows that it covers."""

    def covers(self, key: Key) -> bool: ...
    def add(self, nano_usd: int) -> None: ...
    def miss(self, calls: int) -> None: ...


class Row:
    """The sums of one key while they grow, and the spends that grow with them."""

    __slots__ = ("followed_by", "key", *AMOUNTS)

    def __init__(self, key: Key, followed_by: tuple[Follower, ...]) -> None:
        self.key = key
        self.followed_by = followed_by
        self.calls = self.unpriced_calls = self.unmetered_calls = 0
        self.input_tokens = self.output_tokens = 0
        self.cache_read_tokens = self.cache_creation_tokens = self.cache_creation_1h_tokens = 0
        self.reasoning_tokens = self.audio_input_tokens = self.audio_output_tokens = 0
        self.cost_nano_usd = 0

    def add(self, call: LLMCall, calls: int = 1) -> None:
        """Add a call, or what so many calls were together."""
        self.calls += calls
        usage = call.usage
        if usage is None or usage.is_empty:
            self.unmetered_calls += calls
            if call.cost_usd:  # it was told
                self._add_cost(call.cost_usd)
            return
        if usage.input_tokens is None or usage.output_tokens is None:
            self.unmetered_calls += calls
        self.input_tokens += usage.input_tokens or 0
        self.output_tokens += usage.output_tokens or 0
        if usage.has_details:
            self.cache_read_tokens += usage.cache_read_tokens or 0
            self.cache_creation_tokens += usage.cache_creation_tokens or 0
            self.cache_creation_1h_tokens += usage.cache_creation_1h_tokens or 0
            self.reasoning_tokens += usage.reasoning_tokens or 0
            self.audio_input_tokens += usage.audio_input_tokens or 0
            self.audio_output_tokens += usage.audio_output_tokens or 0
        if call.cost_usd is None:
            self.unpriced_calls += calls
            for spend in self.followed_by:
                spend.miss(calls)
        else:
            self._add_cost(call.cost_usd)

    def _add_cost(self, cost_usd: float) -> None:
        cost = round(cost_usd * NANO)
        self.cost_nano_usd += cost
        for spend in self.followed_by:
            spend.add(cost)


class Tally:
    """Rows that grow call by call, and ``spends`` with them; to be used under its owner's lock."""

    def __init__(self, spends: Iterable[Follower]) -> None:
        self.rows: dict[Key, Row] = {}
        self._spends = spends
        self._known: dict[tuple[Any, ...], Row] = {}

    def add(self, calls: Iterable[LLMCall], names: tuple[str, ...], to_unix_seconds: float) -> None:
        """Add calls whose extra dimensions have these names; answers from a cache are no calls.

        ``to_unix_seconds`` is what stands between the clock of the calls' times and Unix time.
        """
        for call in calls:
            if not call.cached:
                self.row_of(call, names, to_unix_seconds).add(call)

    def row_of(self, call: LLMCall, names: tuple[str, ...], to_unix_seconds: float) -> Row:
        """The row that a call adds to."""
        quarter = int(call.ended + to_unix_seconds) // BUCKET_SECONDS
        key = (
            quarter, call.agent_name, call.provider, call.model, call.served_model,
            call.status, names, call.extra,
        )  # fmt: skip
        return self._known.get(key) or self._row(key)

    def _row(self, raw: tuple[Any, ...]) -> Row:
        quarter, agent_name, provider, model, served_model, status, names, extra = raw
        values = tuple(map(clean_label, extra))
        key = Key(
            quarter * BUCKET_SECONDS,
            clean_label(agent_name),
            clean_label(provider),
            clean_label(model),
            clean_label(served_model),
            status,
            dimensions_text(dict(zip(names, values, strict=False))),
        )
        row = self._row_at(key)
        if (quarter, *key[1:6], names, values) == raw:  # a name of 10 kB costs no memory
            self._known[raw] = row
        return row

    def _row_at(self, key: Key) -> Row:
        if key not in self.rows and len(self.rows) >= MAX_ROWS:
            key = Key(key.bucket, OTHER, OTHER, OTHER, OTHER, key.status, "{}")
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(key, tuple(s for s in self._spends if s.covers(key)))
        return row

    def follow(self, spend: Follower) -> None:
        """Let a spend that is new among ``spends`` grow with the rows that are there."""
        for row in self.rows.values():
            if spend.covers(row.key):
                row.followed_by += (spend,)
