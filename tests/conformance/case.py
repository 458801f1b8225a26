"""A case: one response of a provider as it goes over the wire, and what it bills."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Bill:
    """What one response says of the call it ends, in the terms of the metrics.

    ``None`` is what the provider did not say; ``details`` holds what is above 0. A call that
    failed has the model that was asked for.
    """

    provider: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    details: Mapping[str, int] = field(default_factory=dict)
    status: str = "success"
    error_type: str = ""
    api_seconds: float | None = None


@dataclass(frozen=True)
class Case:
    """A response: its JSON ``body``, or the ``events`` of its stream.

    ``model`` is the model that is asked for, ``options`` go to the LangChain model's constructor.
    ``ends`` is ``complete``, or ``cut`` where the connection closes after the last event.
    ``hidden`` says of parts of the bill why no callback handler can know them: the package keeps
    them to itself. They have to be recorded as unknown, never as something else.
    """

    wire: str
    name: str
    about: str
    source: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    http_status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    events: tuple[Any, ...] = ()
    ends: str = "complete"
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.wire}/{self.name}"

    @property
    def streamed(self) -> bool:
        return bool(self.events)

    @cached_property
    def failed(self) -> bool:
        return self.http_status >= 400

    def knowable(self, bill: Bill) -> Bill:
        """The bill without what is hidden: the model that was asked for, and no numbers."""
        unknown = {**_UNKNOWN, "model": self.model}
        return replace(bill, **{name: unknown[name] for name in self.hidden})

    @classmethod
    def read(cls, path: Path) -> Case:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["events"] = tuple(data.get("events", ()))
        return cls(wire=path.parent.name, name=path.stem, **data)


_UNKNOWN: Mapping[str, Any] = {
    "input_tokens": None,
    "output_tokens": None,
    "details": {},
    "api_seconds": None,
}


def all_cases() -> Iterator[Case]:
    """Every case, by wire and name."""
    for path in sorted(CASES.glob("*/*.json")):
        yield Case.read(path)


def details(**counts: int | None) -> dict[str, int]:
    """The details that are above 0."""
    return {name: count for name, count in counts.items() if count}
