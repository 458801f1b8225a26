"""A field of a response, be it a provider SDK's object or the same as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

Path = tuple[str, ...]
"""The names of fields, each inside the one before it."""


def field(holder: object, name: str) -> Any:
    """The value of a key or an attribute; ``None`` where there is none."""
    cls = type(holder)
    if cls is dict:
        return holder.get(name)  # type: ignore[attr-defined]
    names = _names_of_model(cls)  # type: ignore[arg-type]
    if names is None:
        return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
    values = holder.__dict__
    if name in values:
        return values[name]
    extra = getattr(holder, "__pydantic_extra__", None)
    if extra and name in extra:
        return extra[name]
    return getattr(holder, name, None) if name in names else None


@lru_cache(maxsize=1024)
def _names_of_model(cls: type) -> frozenset[str] | None:
    """The attributes of a class of pydantic's models, as nearly all SDKs have; ``None`` of others.

    What is not there costs such a model several microseconds, and most of what is asked for is not.
    """
    return frozenset(dir(cls)) if hasattr(cls, "__pydantic_validator__") else None


def first_of(holder: object, paths: Iterable[Path]) -> Any:
    """The value of the first path that leads to one."""
    for path in paths:
        value: Any = holder
        for name in path:
            value = None if value is None else field(value, name)
        if value is not None:
            return value
    return None


def parts_of(holder: object, name: str) -> Sequence[Any]:
    """The members of a field that is a list, or like one, as protobuf's are."""
    found = field(holder, name)
    if isinstance(found, list | tuple):
        return found
    return found if isinstance(found, Sequence) and not isinstance(found, str | bytes) else ()


def first_part(holder: object, name: str) -> Any:
    """The first member of a field that is a list; ``None`` without one."""
    parts = parts_of(holder, name)
    return parts[0] if parts else None
