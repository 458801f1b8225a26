"""The in-memory backend: values to read in the same process."""

from __future__ import annotations

from agentmetrics.recording.store import Store, StoreRecorder


class MemoryRecorder(StoreRecorder):
    """A recorder that delivers nothing: read it with ``value``, ``histogram``, ``samples`` and
    ``snapshot``."""

    def __init__(self) -> None:
        super().__init__(Store())
