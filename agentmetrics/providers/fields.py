"""A field of a response, be it a provider SDK's object or the same as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def field(holder: object, name: str) -> Any:
    """The value of a key or an attribute; ``None`` where there is none."""
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
