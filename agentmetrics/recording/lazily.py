"""A property that is made when first asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazily(Generic[T]):  # noqa: N801 - it reads as a decorator
    """``functools.cached_property`` without its lock.

    Before Python 3.12 that holds one lock for all instances while a value is made, and a child that
    is forked meanwhile finds it locked for ever. Here two threads may make a value at once, of
    which one is kept.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        made: T = instance.__dict__.setdefault(self._name, self._make(instance))
        return made
