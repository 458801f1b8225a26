"""URLs as they may be shown."""

from __future__ import annotations

import re


def without_password(url: str) -> str:
    """A URL that may be shown: with ``***`` where it has a password, its scheme given or not."""
    hidden = re.sub(r"((?:^|://)[^:/@]*):(?!//).*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden, flags=re.IGNORECASE)
