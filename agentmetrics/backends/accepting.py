"""What a scraper says that it accepts, as far as it can be understood."""

from __future__ import annotations

import re

_VERSION = re.compile(r"version\s*=\s*(.*)", re.DOTALL)
_NUMBERS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}")


def understood(accept: str) -> str:
    """An ``Accept`` header without the media types whose version is none.

    prometheus-client compares versions as they come and writes them into its answer, so that
    ``version=abc`` raises ``TypeError``. RFC 9110 has a server pass over what it does not know.
    """
    return ",".join(each for each in accept.split(",") if _is_understood(each))


def _is_understood(media_type: str) -> bool:
    versions = map(_VERSION.match, (each.strip() for each in media_type.split(";")))
    return all(_NUMBERS.fullmatch(found[1]) for found in versions if found)
