"""Which of a provider's models a name is, by the patterns that the price list has for each.

A pattern matches more than it is meant for: "starts with gpt-5-nano-" or "contains o4-mini" also
match models that came later and cost something else. So one counts only when it speaks of the whole
name, but for what leaves a model the same (``names.without_version``); of several models the one
whose pattern says most is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from agentmetrics.pricing.names import without_version

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic

_VENDORS = ("anthropic.", "amazon.", "regional.anthropic.")
"""What stands before a model's name on Bedrock where the list leaves it out; its entries for any
region are called so, and say no more than the model's own name."""

_ALIAS = "-latest"
_NUMBER = re.compile(r"\d")
_SNAPSHOT = re.compile(r"[\d.-]*\d")
"""What follows the name of a family, after a hyphen, in that of one of its models."""


class Patterns:
    """Patterns, sorted by their kinds when this is made.

    To ask each whether it matches takes ten times as long: there are hundreds, nearly all names.
    ``kinds`` is the module of their classes.
    """

    def __init__(self, clauses: Iterable[MatchLogic], kinds: Any) -> None:
        self._kinds = kinds
        self._names: dict[str, int] = {}
        self._beginnings: list[tuple[str, int]] = []
        self._parts: list[tuple[str, int]] = []
        self._ends: list[tuple[str, int]] = []
        self._expressions: list[tuple[re.Pattern[str], int]] = []
        self._together: list[tuple[MatchLogic, Patterns, int]] = []
        for place, clause in enumerate(clauses):
            self._sort(clause, place)

    def _sort(self, clause: Any, place: int) -> None:
        kinds = self._kinds
        if isinstance(clause, kinds.ClauseOr):
            for each in clause.or_:
                self._sort(each, place)
        elif isinstance(clause, kinds.ClauseEquals):
            self._names.setdefault(clause.equals.lower(), place)
        elif isinstance(clause, kinds.ClauseStartsWith):
            self._beginnings.append((clause.starts_with.lower(), place))
        elif isinstance(clause, kinds.ClauseContains):
            self._parts.append((clause.contains.lower(), place))
        elif isinstance(clause, kinds.ClauseEndsWith):
            self._ends.append((clause.ends_with.lower(), place))
        elif isinstance(clause, kinds.ClauseRegex):
            self._expressions.append((re.compile(clause.regex), place))
        elif isinstance(clause, kinds.ClauseAnd):
            self._together.append((clause, Patterns(clause.and_, kinds), place))

    def meant(self, name: str) -> int | None:
        """The place of the pattern of the model that this name, in lower case, is; ``None`` where
        there is none that surely is."""
        least = len(without_version(name))
        said = [(most, -place) for most, place in self._said(name) if most >= least]
        return -max(said)[1] if said else None  # the first of those that say as much

    def stands_for(self, name: str, bare: bool) -> set[int] | None:
        """The places of all that an alias which moves may stand for; of any other name none.

        ``mistral-large-latest`` may stand for each ``mistral-large-2411``, and so may the name of
        the family, where that is an alias as well: ``bare``. ``None`` where the list does not know
        the alias by its name, which says no version. One that has a place of its own is followed
        there by the list itself.
        """
        family = name.removesuffix(_ALIAS)
        if family == name and not (bare and not _NUMBER.search(name)):
            return set()
        place = self._names.get(name)
        if place is None:
            return set() if _NUMBER.search(family) else None
        if list(self._names.values()).count(place) == 1:
            return set()
        return {
            other
            for known, other in self._names.items()
            if known.startswith(f"{family}-")
            and _SNAPSHOT.fullmatch(known.removeprefix(f"{family}-"))
        }

    def _said(self, name: str) -> Iterator[tuple[int, int]]:
        """How much of the name, from its start, each pattern that matches speaks of.

        The whole name and one more for a pattern that is the name.
        """
        if name in self._names:
            yield len(name) + 1, self._names[name]
        for text, place in self._beginnings:
            if name.startswith(text):
                yield len(text), place
        for text, place in self._parts:
            if text in name:
                before = name.partition(text)[0]
                if not before or before in _VENDORS:
                    yield len(before) + len(text), place
        for text, place in self._ends:
            if text == name:
                yield len(name), place
        for regex, place in self._expressions:
            found = regex.match(name)
            if found:  # where it is open, its last digit may begin another number
                yield found.end() - (not regex.pattern.endswith("$")), place
        for clause, parts, place in self._together:
            said = [most for most, _ in parts._said(name)] if clause.is_match(name) else []
            if said:
                yield max(said), place
