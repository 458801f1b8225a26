"""What a peer is here: something that watches one call and then says what it saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ALL_FIELDS = frozenset(
    {"calls", "status", "model", "input_tokens", "output_tokens", "details"},
)


@dataclass(frozen=True)
class Seen:
    """One finished call as a peer reported it; ``None`` is what it did not say."""

    status: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    details: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """A handler under comparison.

    ``watch`` attaches it anew and gives the callbacks to pass in the run's config (none where it
    attaches itself); ``seen`` gives the calls that have ended since. ``fields`` are those that it
    reports at all: what it never claims to know is not held against it.
    """

    name: str
    package: str
    watch: Callable[[], Sequence[Any]]
    seen: Callable[[], Sequence[Seen]]
    fields: frozenset[str] = ALL_FIELDS
