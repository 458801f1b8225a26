"""A case: one response of a provider as it goes over the wire, and what it bills."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Bill:
    """What one response says of the call it ends, in the terms of the metrics.

    ``None`` is what the provider did not say; ``details`` holds what is above 0. ``model`` is the
    one that served, which is the one to price; of a call that failed it is the one that was
    ``asked`` for, unless its response is known. ``not_understood`` is how often a part had to be
    left out, since it cannot be. ``seen`` are the tokens that the model saw, input and output,
    where these are not what is billed. ``cost`` is in USD where the response or the provider's page
    of prices says it, ``unpriced`` where nobody can know it, and ``None`` where that is not looked
    at.
    """

    provider: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    details: Mapping[str, int] = field(default_factory=dict)
    status: str = "success"
    error_type: str = ""
    api_seconds: float | None = None
    asked: str = ""
    finish_reason: str = ""
    not_understood: int = 0
    cost: float | str | None = None
    seen: tuple[int, int] | None = field(default=None, compare=False)

    def without(self, lost: Container[str], asked: str) -> Bill:
        """What is left to know of it when ``lost`` is not passed on: ``asked`` for the model, and
        what the model saw for the ``bill``."""
        if "bill" in lost and self.seen is not None:
            sent, received = self.seen
            return replace(self, input_tokens=sent, output_tokens=received, seen=None).without(
                lost, asked
            )
        return replace(
            self,
            model=asked if "model" in lost else self.model,
            asked=asked,
            input_tokens=None if "input_tokens" in lost else self.input_tokens,
            output_tokens=None if "output_tokens" in lost else self.output_tokens,
            details={name: count for name, count in self.details.items() if name not in lost},
            api_seconds=None if "api_seconds" in lost else self.api_seconds,
            finish_reason=self._finish_reason_without(lost),
            not_understood=0 if "cache_read" in lost else self.not_understood,  # nor misunderstood
            seen=None,
            cost=None if "cost" in lost else self.cost,
        )

    def _finish_reason_without(self, lost: Container[str]) -> str:
        if "finish_reason" in lost:
            return ""
        return "stop" if "refusal" in lost else self.finish_reason  # which is what it looks like


@dataclass(frozen=True)
class Case:
    """A response: its JSON ``body``, or the ``events`` of its stream.

    ``model`` is the model that is asked for, ``asked`` how the package names it where that is
    another name; ``options`` go to the LangChain model's constructor.
    ``ends`` is ``complete``, or ``cut`` where the connection closes after the last event.
    ``cost`` is what it costs by the page of prices in ``source``, or ``unpriced``.
    ``ways`` is how it is run, where that is not both ways of its kind. ``lost`` names what the
    response says and the LangChain package keeps to itself, so that it must come out as unknown.
    """

    wire: str
    name: str
    about: str
    source: str
    model: str
    asked: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    http_status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    events: tuple[Any, ...] = ()
    ends: str = "complete"
    ways: tuple[str, ...] = ()
    cost: float | str | None = None
    lost: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.wire}/{self.name}"

    @property
    def streamed(self) -> bool:
        return bool(self.events)

    @cached_property
    def failed(self) -> bool:
        return self.http_status >= 400

    @classmethod
    def read(cls, path: Path) -> Case:
        data = json.loads(path.read_text(encoding="utf-8"))
        for name in ("events", "ways", "lost"):
            data[name] = tuple(data.get(name, ()))
        return cls(wire=path.parent.name, name=path.stem, **data)


def all_cases() -> Iterator[Case]:
    """Every case, by wire and name."""
    for path in sorted(CASES.glob("*/*.json")):
        yield Case.read(path)


def details(**counts: int | None) -> dict[str, int]:
    """The details that are above 0."""
    return {name: count for name, count in counts.items() if count}
