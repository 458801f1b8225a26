"""Newer prices for genai-prices' list, fetched with its own updater when that was asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_prices import UpdatePrices

RETRY_SECONDS = 300.0


class Updates:
    """Fetches the list anew when it is due. It runs in our own thread: theirs ends in a fork."""

    def __init__(self, updater: UpdatePrices) -> None:
        self._updater = updater
        self._due = time.monotonic()

    def fetch_if_due(self) -> bool:
        """Whether newer prices were put in force. Raises what went wrong, once a try."""
        if time.monotonic() < self._due:
            return False
        from genai_prices.data_snapshot import set_custom_snapshot

        self._due = time.monotonic() + RETRY_SECONDS
        set_custom_snapshot(self._updater.fetch())
        self._due = time.monotonic() + self._updater.update_interval
        return True
