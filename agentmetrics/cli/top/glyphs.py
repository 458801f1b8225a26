"""How numbers are drawn: short, and with or without Unicode."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that are drawn with beside letters and digits."""

    levels: str
    """From nothing to the most."""
    full: str
    empty: str
    unknown: str
    dot: str
    cursor: str
    encoding: str
    """Of the output."""

    def name(self, text: str) -> str:
        """A name, with escapes for what the output cannot show, which are as wide as they look."""
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding) or '""'

    def number(self, value: float | None) -> str:
        """A count or a rate in at most five characters."""
        if value is None:
            return self.unknown
        if not value or value >= 1000:
            return _thousands(value)
        if value < 9.95:
            return f"{value:.1f}" if value >= 0.05 else "<0.1"
        return f"{value:.0f}"

    def count(self, value: float | None) -> str:
        """A whole number."""
        return self.unknown if value is None else _thousands(value)

    def some(self, value: float | None, of_what: str) -> str:
        """A whole number of something."""
        return f"{self.count(value)} {of_what}{'' if value == 1 else 's'}"

    def seconds(self, value: float | None) -> str:
        """A latency in at most five characters."""
        if value is None:
            return self.unknown
        if value < 0.9995:
            return f"{1000 * value:.0f}ms"
        return f"{value:.1f}s" if value < 99.95 else self.age(value)

    def age(self, value: float | None) -> str:
        """An age in at most six characters; that of nothing is not known."""
        if not value:
            return self.unknown
        minutes, seconds = divmod(int(value), 60)
        hours, minutes = divmod(minutes, 60)
        if hours >= 48:
            return f"{_thousands(hours // 24)}d"
        if hours:
            return f"{hours}h{minutes:02}m"
        return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"

    def share(self, value: float | None) -> str:
        """A share in at most five characters."""
        if value is None:
            return self.unknown
        percent = 100 * value
        if 0 < percent < 0.05:
            return "<0.1%"
        return f"{percent:.1f}%" if 0 < percent < 9.95 else f"{percent:.0f}%"

    def usd(self, value: float | None) -> str:
        """An amount with its cents, or with what is there of them."""
        if value is None:
            return self.unknown
        if 0 < value < 0.00005:
            return "<0.0001"
        if value >= 99_999.5:
            return _thousands(value)
        if value >= 100:
            return f"{value:.0f}" if value >= 10_000 else f"{value:.2f}"
        return f"{value:.2f}" if value >= 9.9995 or not value else f"{value:.4f}"

    def course(self, values: Sequence[float]) -> str:
        """A bar for each value, on a scale of its own."""
        most, top = max(values, default=0.0), len(self.levels) - 1
        if most <= 0:
            return self.levels[0] * len(values)
        return "".join(self.levels[math.ceil(top * max(value, 0.0) / most)] for value in values)

    def bar(self, share: float, width: int) -> str:
        """How much of something is used."""
        filled = round(min(1.0, max(0.0, share)) * width)
        return self.full * filled + self.empty * (width - filled)


UNICODE = Glyphs(" ▁▂▃▄▅▆▇█", "█", "░", "–", "·", "▸", "utf-8")  # noqa: RUF001
ASCII = Glyphs(" .:-=+*%#", "#", ".", "-", "|", ">", "ascii")


def glyphs_of_output() -> Glyphs:
    """What standard output can show."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"  # it may be closed
    try:
        UNICODE.levels.encode(encoding)
    except LookupError:
        return ASCII
    except UnicodeError:
        return replace(ASCII, encoding=encoding)
    return replace(UNICODE, encoding=encoding)


def _thousands(value: float) -> str:
    if value >= 999.5e9:
        return f"{value:.0e}"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.1f}{unit}" if scaled < 99.95 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}"
