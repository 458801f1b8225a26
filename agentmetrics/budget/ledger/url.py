"""URLs as they may be shown."""

from __future__ import annotations

import re

HIDDEN = "***"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://")
_USER = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_PLACE = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*)(?::[0-9]{1,5})?(?:/[A-Za-z0-9_./~-]*)?"
)
"""A host, its port and a path, none of which holds anything else."""
_FILE = re.compile(r"(?:sqlite:)?[A-Za-z0-9_./\\~-]+\.(?:db|sqlite3?)")
_HOST = re.compile(r"localhost|[A-Za-z0-9_.-]+:[0-9]{1,5}(?:/[A-Za-z0-9_./~-]*)?")
_HARMLESS = re.compile(
    r"(?:sslmode|connect_timeout|application_name|target_session_attrs)=[A-Za-z0-9_.-]*"
)
_NAMED = re.compile(r"([A-Za-z0-9_.-]+)=.*", re.DOTALL)


def without_password(url: str) -> str:
    """A URL that may be shown, with ``***`` for all that may be secret in it.

    Shown is only what is surely none: where a URL is not what it should be, as without its scheme
    or with a character that ought to be escaped, nobody can tell where its password ends.
    """
    found = _SCHEME.match(url)
    scheme = found[0] if found else ""
    rest = url[len(scheme) :]
    if scheme.lower().startswith("sqlite") and rest.startswith("/"):  # all of it is a path
        path, mark, query = rest.partition("?")
        return scheme + (path if path.isprintable() else HIDDEN) + mark + _query(query)
    if not scheme:
        return rest if _FILE.fullmatch(rest) or _HOST.fullmatch(rest) else rest and HIDDEN
    before, at, after = rest.rpartition("@")
    place, mark, query = after.partition("?")
    if any(mark in before for mark in "@/?#") or not _PLACE.fullmatch(place):
        return scheme + HIDDEN
    return f"{scheme}{_user(scheme, before)}{at}{place}{mark}{_query(query)}"


def shown(text: str) -> str:
    """A setting that is no URL and may be shown, unless it is one, or libpq's form of one
    (``host=db password=…``), put in the wrong place."""
    is_misplaced = "@" in text or "://" in text or "password=" in text.lower()
    return without_password(text) if is_misplaced else text


def _user(scheme: str, said: str) -> str:
    """A user by name. One without a password may be a token, except at a database."""
    name, colon, _ = said.partition(":")
    is_name = bool(colon) or not name or scheme.startswith("postgres")
    shown = name if is_name and (not name or _USER.fullmatch(name)) else HIDDEN
    return f"{shown}:{HIDDEN}" if colon else shown


def _query(query: str) -> str:
    return "&".join(_parameter(each) for each in query.split("&"))


def _parameter(said: str) -> str:
    if not said or _HARMLESS.fullmatch(said):
        return said
    named = _NAMED.fullmatch(said)
    return f"{named[1]}={HIDDEN}" if named else HIDDEN
