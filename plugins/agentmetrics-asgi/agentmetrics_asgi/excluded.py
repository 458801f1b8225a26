"""Requests that are not to be recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agentmetrics import ConfigurationError


class Excluded:
    """Paths and route templates as the user lists them.

    An entry with ``*``, which stands for any characters, is a pattern of paths. Any other is a path
    or a route template.

    Raises ``ConfigurationError`` for what is no list of texts.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        if isinstance(entries, str):
            raise ConfigurationError(
                f"excluded={entries!r} is one text: pass a list, as in excluded=[{entries!r}]"
            )
        listed = list(entries)
        for entry in listed:
            if not isinstance(entry, str):
                raise ConfigurationError(
                    f"excluded has {entry!r}, which is no text: pass route templates such as "
                    "'/items/{item_id}' and paths such as '/static/*'"
                )
        self._exact = frozenset(listed)
        patterns = [".*".join(map(re.escape, e.split("*"))) for e in listed if "*" in e]
        self._pattern = re.compile("|".join(patterns), re.DOTALL) if patterns else None

    def has_path(self, path: str) -> bool:
        """Whether this path is excluded, whatever its route."""
        if path in self._exact:
            return True
        return self._pattern is not None and self._pattern.fullmatch(path) is not None

    def has_endpoint(self, endpoint: str) -> bool:
        """Whether this route template is excluded."""
        return endpoint in self._exact
