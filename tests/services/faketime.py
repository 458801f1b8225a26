"""The clock of another program, as a test would have it: libfaketime, loaded before everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class Clock:
    """What a program that is started with ``env`` takes for the time of day.

    The monotonic clock goes on as it is, and so do the times of files: nobody sets those.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set("+0")

    def set(self, how: str) -> None:
        """``-1d`` ago; ``@2100-01-01 00:00:00`` and on from there; the same without ``@`` stands
        still."""
        new = self._file.with_suffix(".new")
        new.write_text(how)
        new.replace(self._file)  # it is read at any moment

    @property
    def env(self) -> Mapping[str, str]:
        """What the program is to be started with."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is not installed: apt-get install --no-install-recommends faketime"
    return found[0]
