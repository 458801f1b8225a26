"""Where ``top`` reads: URLs of /metrics, and multiprocess directories."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from agentmetrics.budget.ledger.url import without_password
from agentmetrics.cli.top.fetching import BadAnswer, Unreachable, fetched
from agentmetrics.live.samples import (
    Snapshot,
    Unreadable,
    from_exposition,
    from_families,
    names_wanted,
)

MAX_BYTES = 256 * 1024 * 1024
"""The most that an answer may have: 5 000 agents have about half of it."""
_WITHOUT_SCHEME = re.compile(
    r"(?:[\w.-]+|\[[0-9A-Fa-f:]+\])?:\d+(?:/.*)?|localhost(?:/.*)?", re.ASCII
)


class Source(Protocol):
    """What can be asked for a snapshot again and again."""

    @property
    def name(self) -> str:
        """As it may be shown."""

    def read(self) -> Snapshot:
        """Raises ``Unreachable``."""


def source_of(text: str) -> Source:
    """The source that somebody has named. Raises ``ValueError`` for what is none."""
    if Path(text).is_dir():
        return Directory(text)
    address = text if "://" in text else f"http://{text}"
    if "://" not in text and not _WITHOUT_SCHEME.fullmatch(text):
        raise ValueError(
            f"{text!r} is neither a directory nor a URL: pass one such as "
            "http://127.0.0.1:9464/metrics, or the directory that processes write to"
        )
    if address.startswith("http://:"):
        address = address.replace("http://:", "http://127.0.0.1:", 1)
    try:
        parts = urlsplit(address)
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # no port, or no address between brackets
        is_whole = False
    if not is_whole:
        raise ValueError(
            f"{without_password(text)!r} is no URL that can be read: use http or https, as in "
            "http://127.0.0.1:9464/metrics"
        )
    if parts.path in ("", "/"):
        address = parts._replace(path="/metrics").geturl()
    return Url(address)


@dataclass(unsafe_hash=True)
class Url:
    """``/metrics`` of a program; a user and a password in the URL are sent as basic
    authentication.

    It is asked only for what is shown, which costs the program less. Where that brings nothing, it
    is asked for everything, which tells whether it has a namespace.
    """

    address: str
    _names: Sequence[str] = field(default_factory=names_wanted, compare=False, repr=False)

    @property
    def name(self) -> str:
        return without_password(self.address)

    def read(self) -> Snapshot:
        if self._names:
            with suppress(BadAnswer):
                return from_text(self._fetched(urlencode([("name[]", n) for n in self._names])))
        text = self._fetched()
        found, names = from_text(text), names_wanted(text)
        # Who has these names and did not give them does not understand.
        self._names = names if self._names and names != self._names else ()
        return found

    def _fetched(self, query: str = "") -> str:
        return fetched(self.address, query, MAX_BYTES).decode("utf-8", "replace")


@dataclass(frozen=True)
class Directory:
    """prometheus-client's files of several processes."""

    path: str

    @property
    def name(self) -> str:
        return self.path

    def read(self) -> Snapshot:
        from agentmetrics.backends.multiprocess import MultiprocessCollector

        try:
            found = from_families(MultiprocessCollector(self.path).collect(), time.time())
        except ValueError:
            raise Unreachable("must be a directory that you can write to, to tidy up") from None
        except OSError as error:
            raise Unreachable(error.strerror or type(error).__name__) from None
        if not found.series:
            raise Unreachable("has no metrics yet")
        return found


def from_text(text: str) -> Snapshot:
    """The snapshot of now in an exposition. Raises ``Unreachable`` if it is none of ours."""
    try:
        return from_exposition(text, time.time())
    except Unreadable as error:
        raise BadAnswer(f"answers with {error}") from None
