"""Backends: recorders that own delivery, found by name through entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentmetrics.recording.recorder import Recorder

GROUP = "agentmetrics.backends"


def available() -> dict[str, EntryPoint]:
    """The installed backends by name; of two with one name the built-in one counts."""
    found = sorted(
        entry_points(group=GROUP), key=lambda point: point.value.startswith("agentmetrics.")
    )
    return {point.name: point for point in found}


def load(name: str) -> type[Recorder]:
    """The recorder class of a backend.

    Raises ``KeyError`` for a name that no installed package registers, and
    ``ModuleNotFoundError`` when what it needs is not installed.
    """
    cls: type[Recorder] = available()[name].load()
    return cls
