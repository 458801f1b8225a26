"""Calls as amounts, and amounts added up: the rows of the ledger, as they grow in memory."""

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
Numbers = tuple[int, ...]
"""Amounts as plain numbers, in the order of ``AMOUNTS``."""


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

    def add(self, amounts: Numbers) -> None:
        """Add what calls used and cost, in the order of ``AMOUNTS``."""
        (
            calls, unpriced, unmetered, input_tokens, output_tokens, cache_read,
            cache_creation, cache_creation_1h, reasoning, audio_input, audio_output, cost,
        ) = amounts  # fmt: skip
        self.calls += calls
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        if unmetered:
            self.unmetered_calls += unmetered
        if cache_read or cache_creation or reasoning or audio_input or audio_output:
            self.cache_read_tokens += cache_read
            self.cache_creation_tokens += cache_creation
            self.cache_creation_1h_tokens += cache_creation_1h
            self.reasoning_tokens += reasoning
            self.audio_input_tokens += audio_input
            self.audio_output_tokens += audio_output
        if unpriced:
            self.unpriced_calls += unpriced
            for spend in self.followed_by:
                spend.miss(unpriced)
        if cost:
            self.cost_nano_usd += cost
            for spend in self.followed_by:
                spend.add(cost)


def amounts_of(call: LLMCall, calls: int = 1) -> Numbers:
    """What a call adds to its row, in the order of ``AMOUNTS``; or so many calls together."""
    usage = call.usage
    cost = 0 if call.cost_usd is None else round(call.cost_usd * NANO)
    if usage is None or usage.is_empty:
        return (calls, 0, calls, 0, 0, 0, 0, 0, 0, 0, 0, cost)  # a cost that was told counts
    details: Numbers = (0,) * 6
    if usage.has_details:
        details = (
            usage.cache_read_tokens or 0,
            usage.cache_creation_tokens or 0,
            usage.cache_creation_1h_tokens or 0,
            usage.reasoning_tokens or 0,
            usage.audio_input_tokens or 0,
            usage.audio_output_tokens or 0,
        )
    return (
        calls,
        calls if call.cost_usd is None else 0,
        calls if usage.is_partial else 0,
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        *details,
        cost,
    )


def key_of(call: LLMCall, names: tuple[str, ...], ended: float) -> Key:
    """The key of the row that a call adds to, which ended at this Unix time.

    ``names`` are those of its extra dimensions.
    """
    values = map(clean_label, call.extra)
    return Key(
        int(ended) // BUCKET_SECONDS * BUCKET_SECONDS,
        clean_label(call.agent_name),
        clean_label(call.provider),
        clean_label(call.model),
        clean_label(call.served_model),
        call.status,
        dimensions_text(dict(zip(names, values, strict=False))),
    )


class Tally:
    """Rows that grow, and ``spends`` with them; to be used under its owner's lock."""

    def __init__(self, spends: Iterable[Follower] = ()) -> None:
        self.rows: dict[Key, Row] = {}
        self._spends = spends

    def add(self, key: Key, amounts: Numbers) -> None:
        """Add amounts to the row of a key; past ``MAX_ROWS`` to one whose names are ``other``."""
        row = self.rows.get(key)
        if row is None:
            row = self._row(key)
        row.add(amounts)

    def _row(self, key: Key) -> Row:
        if len(self.rows) >= MAX_ROWS:
            key = Key(key.bucket, OTHER, OTHER, OTHER, OTHER, key.status, "{}")
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = Row(key, tuple(s for s in self._spends if s.covers(key)))
        return row

    @property
    def calls(self) -> int:
        """How many calls are in its rows."""
        return sum(row.calls for row in self.rows.values())

    def follow(self, spend: Follower) -> None:
        """Let a spend that is new among ``spends`` grow with the rows that are there."""
        for row in self.rows.values():
            if spend not in row.followed_by and spend.covers(row.key):
                row.followed_by += (spend,)

    def follow_all(self, spends: Iterable[Follower]) -> None:
        """Let spends grow with its rows from now on; what is in them already is in the spends."""
        self._spends = spends
        for spend in spends:
            self.follow(spend)
