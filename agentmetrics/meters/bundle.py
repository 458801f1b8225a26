"""The bound series of one label set, looked up once and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from agentmetrics.recording.metric import clean_label

B = TypeVar("B")

MAX_BUNDLES = 20_000
"""Label sets a meter keeps by default; past it all are let go and bound anew as they come."""


class Bundles(dict[tuple[Any, ...], B]):
    """Bundles by label values, made when first asked for; at ``limit`` of them, it begins anew.

    A key is a tuple of label values; one of them may be a tuple itself, of extra labels' values.
    ``make`` is called with the cleaned parts of the key. Only clean values are kept as keys: a name
    of 10 kB costs no memory. A dictionary, so that a look-up that finds something runs no Python.
    """

    __slots__ = ("_limit", "_make")

    def __init__(self, make: Callable[..., B], limit: int = MAX_BUNDLES) -> None:
        self._make, self._limit = make, limit

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
        return self.setdefault(clean, self._make(*clean)) if found is None else found
