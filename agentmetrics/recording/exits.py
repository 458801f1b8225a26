"""What is closed at the end of a program, by itself: the one registry."""

from __future__ import annotations

import atexit
import logging
from typing import Protocol

from agentmetrics.recording.fork import notice_fork

logger = logging.getLogger("agentmetrics")


class Closable(Protocol):
    """Something with a last flush; ``close`` may come twice."""

    def close(self) -> None: ...


_open: dict[int, Closable] = {}


def close_at_exit(closable: Closable) -> None:
    """Keep ``closable``, and close it when the program ends: the youngest first."""
    _open[id(closable)] = closable


def skip_at_exit(closable: Closable) -> None:
    """Leave it alone at the end: somebody has closed it already."""
    _open.pop(id(closable), None)


def close_all() -> None:
    """Close everything that is kept; one that fails is no reason to keep the others open."""
    notice_fork()  # what a child has from its parent is not the child's to flush
    while _open:
        _, closable = _open.popitem()
        try:
            closable.close()
        except Exception as error:
            logger.warning("%s failed at exit: %s", type(closable).__name__, type(error).__name__)


atexit.register(close_all)
