"""Values of a program's own classes that answer anything with an error, a lie, or another call."""

from __future__ import annotations

import enum
import math
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import repeat
from random import Random
from types import SimpleNamespace
from typing import Any

from agentmetrics import BudgetExceeded, record_call, track_call, track_tool


class HostileError(Exception):
    """Raised by whatever is asked of a hostile object; it cannot be asked either."""

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__

    @property
    def status_code(self) -> int:
        raise HostileError

    @property
    def exceptions(self) -> Any:
        raise HostileError


def _raise(*_: Any, **__: Any) -> Any:
    raise HostileError


def _raise_at_once(*_: Any, **__: Any) -> Any:
    raise RecursionError


def _attribute_error(*_: Any, **__: Any) -> Any:
    raise AttributeError


def _nothing(*_: Any, **__: Any) -> Any:
    return None


def _odd(*_: Any, **__: Any) -> Any:
    return math.nan


class Again:
    """What hostile objects have recorded themselves, in the middle of what they were asked."""

    calls = tools = 0


def _calls_again(*_: Any, **__: Any) -> Any:
    call = track_call("openai", "gpt-4o-mini", agent_name="again")
    with suppress(BudgetExceeded), call:
        Again.calls += 1
        call.record_usage(1, 1)
    Again.calls += 1
    record_call("openai", "gpt-4o-mini", agent_name="again")
    Again.tools += 1
    with track_tool("again"):
        raise HostileError


def _slow(*_: Any, **__: Any) -> Any:
    time.sleep(0.0002)


def _huge(*_: Any, **__: Any) -> Any:
    return HUGE


def _itself(self: Any, *_: Any, **__: Any) -> Any:
    return self


def _endless(*_: Any, **__: Any) -> Any:
    return repeat(("usage", "a"))


def _nested(depth: int) -> list[Any]:
    inside: list[Any] = []
    for _ in range(depth):
        inside = [inside]
    return inside


HUGE = "x" * 1_000_000
DEEP = _nested(10_000)
WIDE = {f"agent_name{number}": number for number in range(10_000)}

ANSWERS = (
    *(_raise, _raise, _raise_at_once, _attribute_error, _nothing, _odd, _calls_again, _slow),
    *(_huge, _itself, _endless),
)
SPECIAL = (
    *("__getattribute__", "__delattr__", "__setattr__", "__reversed__", "__length_hint__"),
    *("__str__", "__repr__", "__hash__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__"),
    *("__ge__", "__bool__", "__len__", "__float__", "__int__", "__index__", "__iter__"),
    *("__contains__", "__getitem__", "__format__", "__await__", "__enter__", "__exit__"),
    *("__getattr__", "__class__", "__add__", "__radd__", "__round__", "__call__"),
    *("get", "items", "keys", "values", "timestamp", "startswith", "model_dump", "isprintable"),
)
_BASES = (object, object, str, int, float, dict, list, tuple, bytes)


def _ends_with_calls(_: object) -> None:
    with suppress(HostileError):
        _calls_again()


class _Meta(type):
    """The class of classes that tell nobody anything: not even their names."""

    __getattribute__ = __instancecheck__ = __subclasscheck__ = _raise
    __repr__ = __hash__ = __eq__ = _raise


def hostile(random: Random) -> Any:
    """An object of a class of its own, some of whose methods are hostile."""
    body: dict[str, Any] = {}
    for name in random.sample(SPECIAL, random.randint(1, 8)):
        answer: Any = random.choice(ANSWERS)
        if name == "__class__":
            lie = random.choice((str, int, dict, BaseException, type, None))
            answer = property(answer if lie is None else partial(_lying, lie))
        body[name] = answer
    if random.random() < 0.05:
        body["__del__"] = _ends_with_calls
    kind: Any = _Meta if random.random() < 0.1 else type
    base: Any = random.choice(_BASES)
    return base.__new__(kind("Own", (base,), body))


def _lying(lie: object, _: object) -> object:
    return lie


def dead(random: Random) -> Any:
    """A proxy of what is gone."""

    class Gone:
        pass

    return weakref.proxy(Gone())


def itself(random: Random) -> Any:
    """A container that is in itself."""
    if random.random() < 0.5:
        inside: list[Any] = []
        inside.append(inside)
        return inside
    named: dict[str, Any] = {}
    named["usage"] = named["metadata"] = named["choices"] = named
    return named


class Word(enum.Enum):
    """An enumeration whose members are text to nobody."""

    A = "a"


PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 10**400, 2**53, 2**63, -(2**63), 1e308, math.nan, math.inf),
    *(-math.inf, "", "a", "gpt-4o", "a\nb", "\ud800", "é" * 300, "x" * 100_000, b"\xff", 1j),
    *(Decimal("NaN"), Decimal("1e400"), Fraction(1, 3), Word.A, ..., NotImplemented, object),
    *(range(3), frozenset({1}), Exception, KeyboardInterrupt, lambda: None, SimpleNamespace()),
)
NAMES = (
    *("agent_name", "lc_agent_name", "ls_provider", "ls_model_name", "tenant", "usage", "model"),
    *("input_tokens", "output_tokens", "prompt_tokens", "completion_tokens", "total_tokens"),
    *("choices", "message", "content", "id", "object", "type", "finish_reason", "delta", "text"),
    *("langgraph_node", "langgraph_triggers", "max_tokens", "cost", "name", "usage_metadata"),
)


def value(random: Random, depth: int = 0) -> Any:
    """Anything."""
    kind = random.random()
    if kind < 0.35:
        return hostile(random)
    if kind < 0.64 or depth > 2:
        return random.choice(PLAIN)
    if kind < 0.65:
        return random.choice((HUGE, DEEP, WIDE))
    if kind < 0.70:
        return random.choice((dead, itself))(random)
    if kind < 0.75:
        return random.choice((HostileError(), ValueError("text"), uuid.uuid4(), object()))
    inside = [value(random, depth + 1) for _ in range(random.randint(0, 3))]
    if kind < 0.80:
        return random.choice((list, tuple, iter))(inside)
    named = {random.choice(NAMES): each for each in inside}
    return SimpleNamespace(**named) if kind < 0.9 else named


def arguments(random: Random, names: Mapping[str, Callable[[Random], Any]]) -> dict[str, Any]:
    """Some of these arguments, each made by what it is named with."""
    return {name: make(random) for name, make in names.items() if random.random() < 0.7}
