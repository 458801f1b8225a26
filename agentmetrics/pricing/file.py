"""The file with the user's own prices, reloaded when it changes."""

from __future__ import annotations

from pathlib import Path

from agentmetrics._toml import read_document
from agentmetrics.pricing.own import OwnPrices


class PriceFile:
    """A price file; ``prices`` are what it said when it was last without a mistake.

    Raises ``ValueError``, with one sentence, when it cannot be read or is not what it may be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = self._look()
        self.prices = self._read()

    def reload(self) -> bool:
        """Read the file again if it has changed since; whether it had.

        Raises ``ValueError`` once for every change that is a mistake, and keeps the prices.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        self.prices = self._read()
        return True

    def _look(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> OwnPrices:
        return OwnPrices.of(read_document(self.path))
