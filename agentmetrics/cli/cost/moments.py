"""Times as people write them: a date, ``yesterday``, ``monday``, ``7d``."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, tzinfo
from difflib import get_close_matches

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAYS_FROM_NOW = {"today": 0, "yesterday": -1, "tomorrow": 1}
_AGO = re.compile(r"(?P<count>[0-9]{1,6}) ?(?P<unit>h|hours?|d|days?|w|weeks?)(?: ago)?", re.ASCII)
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}", re.ASCII)


def moment(option: str, said: str, now: float, zone: tzinfo) -> datetime:
    """The moment that an option names; a day, week or month is its beginning.

    ``7d`` is the beginning of the day seven days ago, as ``1d`` is that of yesterday, and ``36h``
    is so many hours ago. Of weekdays it is the last one, which may be today. What has no time zone
    is of the wall clock of ``zone``. Raises ``ValueError`` for what is no time.
    """
    text = " ".join(said.lower().split())
    today = datetime.fromtimestamp(now, zone).date()
    try:
        if text in _DAYS_FROM_NOW:
            return _midnight(today, _DAYS_FROM_NOW[text])
        if text in _WEEKDAYS:
            return _midnight(today, -((today.weekday() - _WEEKDAYS.index(text)) % 7))
        if ago := _AGO.fullmatch(text):
            count, unit = int(ago["count"]), ago["unit"][0]
            if unit == "h":
                return datetime.fromtimestamp(now - 3600 * count, zone)
            return _midnight(today, -count * (7 if unit == "w" else 1))
        if _MONTH.fullmatch(text):
            return datetime.fromisoformat(f"{text}-01")
        return datetime.fromisoformat(said.strip().replace("Z", "+00:00"))
    except (OverflowError, OSError):  # the second is Windows', of what was before 1970
        raise ValueError(f"{option} {said!r} is before any calendar") from None
    except ValueError:
        raise ValueError(f"{option} {said!r} is not a time{_meant(text)}") from None


def _midnight(day: date, days: int) -> datetime:
    return datetime.combine(day + timedelta(days=days), time())


def _meant(text: str) -> str:
    close = get_close_matches(text, (*_DAYS_FROM_NOW, *_WEEKDAYS), n=1)
    if close:
        return f": did you mean {close[0]}?"
    return ": use 2025-11-01, 2025-11-01T18:00, 2025-11, today, yesterday, monday, 7d, 2w or 36h"
