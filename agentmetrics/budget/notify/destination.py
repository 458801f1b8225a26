"""Where notices go: what receives them, and the environment variable that holds its URL."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

KINDS = ("slack", "webhook")
_FORM = re.compile(r"([a-z]+):([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_FORMS = " or ".join(f"'{kind}:VARIABLE'" for kind in KINDS)


@dataclass(frozen=True)
class Destination:
    """A Slack channel or a webhook. Its URL, which lets anybody write there, is in no text of it.

    Errors do not quote what was given either: it may be the URL itself.
    """

    kind: str
    variable: str

    @classmethod
    def parse(cls, said: object) -> Destination:
        """The destination that ``said`` names, such as ``slack:SLACK_URL``.

        Raises ``ValueError``.
        """
        found = _FORM.fullmatch(said) if isinstance(said, str) else None
        if found is None:
            raise ValueError(
                f"must be {_FORMS}, where VARIABLE is the name of the environment variable that "
                "holds the URL"
            )
        if found[1] not in KINDS:
            raise ValueError(f"{found[1]!r} is not a known kind of destination: use {_FORMS}")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"{self.kind}:{self.variable}"

    def url(self) -> SecretStr:
        """The URL that its variable holds now.

        Raises ``ValueError`` when the variable is not set or holds no http or https URL.
        """
        value = os.environ.get(self.variable, "").strip()  # a file's last newline is often there
        if not value:
            raise ValueError(f"the environment variable {self.variable} is not set")
        if not _is_usable(value):
            raise ValueError(
                f"the environment variable {self.variable} must hold an http:// or https:// URL "
                "without a user name"
            )
        return SecretStr(value)


def parse_all(said: object) -> tuple[Destination, ...]:
    """The destinations that a list names, each once. Raises ``ValueError``."""
    if isinstance(said, str) or not isinstance(said, Sequence):
        raise ValueError(f"notify: must be a list of {_FORMS}")
    found: dict[Destination, None] = {}
    for number, one in enumerate(said):
        try:
            found[Destination.parse(one)] = None
        except ValueError as error:
            raise ValueError(f"notify[{number}]: {error}") from None
    return tuple(found)


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url
    return (
        is_plain
        and parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
    )
