"""A field of a response, be it a provider SDK's object or the same as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

Path = tuple[str, ...]
"""The names of fields, each inside the one before it."""

MOST_FIELDS, MOST_PARTS = 1000, 10_000
"""More than a usage or metadata has fields, and a response parts; soon looked at, all the same."""

_K = TypeVar("_K")
_V = TypeVar("_V")


def fields_of(mapping: Mapping[_K, _V]) -> Iterator[tuple[_K, _V]]:
    """What is in a mapping, whose class may be the program's own and never come to an end."""
    return islice(mapping.items(), MOST_FIELDS)


def held(values: list[_V] | tuple[_V, ...]) -> Iterator[_V]:
    """What is in a list or tuple, whatever a class of the program's own says is in it."""
    return list.__iter__(values) if isinstance(values, list) else tuple.__iter__(values)


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
    if type(found) is list:
        return found
    if isinstance(found, list | tuple):
        return tuple(held(found))
    is_list = isinstance(found, Sequence) and not isinstance(found, str | bytes)
    return tuple(islice(found, MOST_PARTS)) if is_list else ()


def first_part(holder: object, name: str) -> Any:
    """The first member of a field that is a list; ``None`` without one."""
    parts = parts_of(holder, name)
    return parts[0] if parts else None
