"""``python -m tests.ends``: go through every end and write docs/ends.md.

With words, only the ends whose names have one of them, and nothing is written.
"""

from __future__ import annotations

import sys
import time

from tests.ends.ends import End, ends
from tests.ends.house import house
from tests.ends.place import Kept
from tests.ends.table import PAGE, page, row


def main(words: list[str]) -> None:
    measured: dict[End, Kept] = {}
    with house() as home:
        for end in ends():
            if words and not any(word in end.id for word in words):
                continue
            began = time.monotonic()
            try:
                measured[end] = home.measure(end)
            except Exception as error:
                print(f"{end.id}: {type(error).__name__}: {str(error)[-1500:]}")
                continue
            print(
                f"{end.id}: {row(end, measured[end])} {time.monotonic() - began:.1f} s", flush=True
            )
    if not words:
        PAGE.write_text(page(measured), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
