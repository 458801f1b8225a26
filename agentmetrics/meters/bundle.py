"""The bound series of one label set, looked up once and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from agentmetrics.recording.metric import clean_label

B = TypeVar("B")

MAX_BUNDLES = 20_000
"""Label sets a meter keeps by default; past it all are let go and bound anew as they come."""
MAX_SHARED = 2_000
"""Bundles that it keeps for label sets past the cardinality limit."""


class Bundles(dict[tuple[Any, ...], B]):
    """Bundles by label values, made when first asked for; at ``limit`` of them, it begins anew.

    A key is a tuple of label values; one of them may be a tuple itself, of extra labels' values.
    ``make`` is called with the cleaned parts of the key. Only clean values are kept as keys: a name
    of 10 kB costs no memory. A dictionary, so that a look-up that finds something runs no Python.

    ``share``, called with the same, returns the key whose bundle serves for this one: label sets
    past the cardinality limit have their series in common, so they need no bundle each.
    """

    __slots__ = ("_limit", "_make", "_share", "_shared")

    def __init__(
        self,
        make: Callable[..., B],
        limit: int = MAX_BUNDLES,
        share: Callable[..., tuple[Any, ...]] | None = None,
    ) -> None:
        self._make, self._limit, self._share = make, limit, share
        self._shared: dict[tuple[Any, ...], B] = {}

    def __missing__(self, key: tuple[Any, ...]) -> B:
        clean = tuple(
            [
                tuple(map(clean_label, part)) if type(part) is tuple else clean_label(part)
                for part in key
            ]
        )
        if len(self) >= self._limit:
            self.clear()
        found = self.get(clean)
        return self.setdefault(clean, self._made(clean)) if found is None else found

    def _made(self, key: tuple[Any, ...]) -> B:
        shared = key if self._share is None else self._share(*key)
        if shared == key:
            return self._make(*key)
        found = self._shared.get(shared)
        if found is None:
            if len(self._shared) >= MAX_SHARED:
                self.clear()
            found = self._shared.setdefault(shared, self._make(*shared))
        return found

    def clear(self) -> None:
        super().clear()
        self._shared.clear()
