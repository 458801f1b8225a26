"""uWSGI: a worker calls ``uwsgi.atexit`` at its end, also where it skips Python's own exit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_hooked: list[Any] = []


def hook(flush: Callable[[], None]) -> None:
    """Flush at the end of a worker, after what the program has set to be called there."""
    uwsgi = sys.modules.get("uwsgi")  # which uWSGI itself makes, and nothing else
    if uwsgi is None or _hooked:
        return
    told = getattr(uwsgi, "atexit", None)

    def end() -> None:
        try:
            if told is not None:
                told()
        finally:
            flush()

    _hooked.append(end)
    uwsgi.atexit = end  # type: ignore[attr-defined]
