"""The events in the text of a stream: server-sent events, or a JSON object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_FIELDS = ("data:", "event:", "id:", "retry:", ":")
"""What lines of server-sent events begin with.
https://html.spec.whatwg.org/multipage/server-sent-events.html"""

_BEGINNINGS = (*_FIELDS, "{")


def parsed(text: str | bytes | bytearray) -> Any:
    """The JSON in a text; ``None`` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


class Lines:
    """Finds the events of a stream that is read as text, in lines or in any other pieces.

    A stream of text that is no such thing is what the model says: its pieces are the events.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._is_plain: bool | None = None

    def events(self, piece: str | bytes | bytearray) -> Iterator[Any]:
        """The events that a piece of the text completes."""
        text = piece if isinstance(piece, str) else piece.decode("utf-8", "replace")
        if self._is_plain is None:
            text, self._rest = f"{self._rest}{text}", ""
            self._is_plain = _is_plain(text.lstrip())
            if self._is_plain is None:
                self._rest = text
                return
        if self._is_plain:
            yield text
            return
        *lines, self._rest = f"{self._rest}{text}".split("\n")
        if _is_whole(self._rest):  # of somebody who reads lines, or the last of a text
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            event = parsed(_data_of(line))
            if event is not None:
                yield event


def _is_plain(text: str) -> bool | None:
    """Whether a text does not begin as events do; ``None`` while that cannot be told."""
    if text.startswith(_BEGINNINGS):
        return False
    return None if any(beginning.startswith(text) for beginning in _BEGINNINGS) else True


def _is_whole(line: str) -> bool:
    if line.startswith(_FIELDS[1:]):
        return True
    return line.rstrip().endswith("}") and parsed(_data_of(line)) is not None


def _data_of(line: str) -> str:
    return line.removeprefix("data:").strip()
