"""A budget notice, and how each kind of destination is told."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal

FORMAT_VERSION = 1
"""Of the webhook's JSON: a key that goes or changes its meaning makes it 2, a new one does not."""

NoticeKind = Literal["threshold", "exceeded", "test"]


@dataclass(frozen=True)
class Notice:
    """That a budget passed one of its thresholds (percent); amounts in USD.

    ``kind`` is ``exceeded`` from 100% on, and ``test`` where nothing was passed. ``id`` is the same
    in every process that sees the same budget pass the same threshold in the same period.
    """

    id: str
    kind: NoticeKind
    budget: str
    period: str
    scope: Mapping[str, str]
    action: str
    threshold: float | None
    spent_usd: float
    limit_usd: float
    remaining_usd: float
    starts_at: datetime
    resets_at: datetime

    def body(self, destination_kind: str) -> bytes:
        """What a destination of this kind is sent: JSON in UTF-8."""
        return json.dumps(_BODIES[destination_kind](self)).encode()

    def text(self) -> str:
        """The notice as a sentence or two."""
        scope = ", ".join(f"{label}={value}" for label, value in self.scope.items())
        subject = f'{self.period} budget "{self.budget}"' + (f" ({scope})" if scope else "")
        if self.kind == "test":
            return f"This is a test: notices of the {subject} will arrive here."
        is_blocked = self.kind == "exceeded" and self.action == "block"
        then = "Its calls are blocked until" if is_blocked else "It resets at"
        return (
            f"The {subject} passed {self.threshold:g}%: USD {self.spent_usd:,.4f} of "
            f"USD {self.limit_usd:,.4f} spent. {then} {self.resets_at:%Y-%m-%d %H:%M %Z}."
        )


def id_of(*parts: object) -> str:
    """The same 32 hexadecimal digits for the same parts, which are plain data."""
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _slack(notice: Notice) -> dict[str, Any]:
    # Of the three characters that Slack reads as its own, a name may have any.
    return {"text": html.escape(notice.text(), quote=False)}


def _webhook(notice: Notice) -> dict[str, Any]:
    moments = {name: getattr(notice, name).isoformat() for name in ("starts_at", "resets_at")}
    return {"version": FORMAT_VERSION, **asdict(notice), **moments}


_BODIES: Mapping[str, Callable[[Notice], dict[str, Any]]] = {"slack": _slack, "webhook": _webhook}
