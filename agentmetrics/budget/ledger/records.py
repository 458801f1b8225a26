"""The records of a spool: what one call adds to a row of the ledger, as bytes that can be checked.

A record is 14 integers of 64 bits: the number of a key, the ``AMOUNTS`` in their order, and a check
over both and the record's place. The check is written last, so a record that a killed process left
half written does not pass for one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from agentmetrics.budget.ledger.tally import AMOUNTS, Key, Numbers

RECORD = Struct(f"<{2 + len(AMOUNTS)}q")
"""A record; what is written of a part of a key is as long."""
PLAIN = Struct("<6q48x2q")
"""A record whose seven kinds of details are 0, which is nearly every one: quicker to write."""
PART = Struct("<2q88sq")
"""A part of a key's text: the number of the key below 0, the part's place, the text, the check."""
MULTIPLIER = 0x9E3779B1
"""A prime near 2³² over the golden ratio: neighbours' checks are far apart (Knuth, 6.4)."""
MOST = (1 << 63) - 1

_TEXT_BYTES = 88
_MANY = 1 << 16


def check_of(fields: Iterable[int], place: int) -> int:
    """The check of a record at a place in its spool; the first place is 1."""
    return (sum(fields) + place * MULTIPLIER) & MOST


def parts_of(number: int, key: Key) -> list[tuple[int, int, bytes]]:
    """A key, under its number, as the parts that it is written in."""
    text = json.dumps(key, ensure_ascii=False, separators=(",", ":")).encode()
    pieces = [text[at : at + _TEXT_BYTES] for at in range(0, len(text), _TEXT_BYTES)]
    return [(-number, len(pieces) * _MANY + at, piece) for at, piece in enumerate(pieces)]


def check_of_part(number: int, where: int, text: bytes, place: int) -> int:
    """The check of a part of a key, whose number is below 0."""
    return check_of((-number, where, crc32(text.rstrip(b"\0"))), place)


class Read(NamedTuple):
    """What is at a place of a spool: amounts of the row of a key, ``None`` where it is torn."""

    place: int
    key: Key | None
    amounts: Numbers = ()


def read(data: bytes, first: int) -> Iterator[Read]:
    """What a dead process left, in order; ``first`` is the first place.

    What was never written is passed over. A record is torn when it fails its check, or when its
    key does.
    """
    keys = _Keys()
    whole = len(data) // RECORD.size * RECORD.size
    for place, record in enumerate(RECORD.iter_unpack(data[:whole]), first):
        if not any(record):
            continue
        if record[0] < 0:
            at = (place - first) * RECORD.size
            if not keys.take(place, *PART.unpack_from(data, at)):
                yield Read(place, None)
        elif record[-1] == check_of(record[:-1], place):
            yield Read(place, keys.known.get(record[0]), record[1:-1])
        else:
            yield Read(place, None)
    if any(data[whole:]):  # the file was cut in the middle of a record
        yield Read(first + whole // RECORD.size, None)


class _Keys:
    """Keys, as their parts are read."""

    def __init__(self) -> None:
        self.known: dict[int, Key] = {}
        self._parts: dict[int, dict[int, bytes]] = {}

    def take(self, place: int, number: int, where: int, text: bytes, check: int) -> bool:
        """Take a part; whether it is whole."""
        if check != check_of_part(number, where, text, place):
            return False
        many, at = divmod(where, _MANY)
        parts = self._parts.setdefault(number, {})
        parts[at] = text
        if len(parts) == many:
            whole = b"".join(parts[at] for at in range(many)).rstrip(b"\0")
            bucket, *names = json.loads(whole)
            self.known[-number] = Key(int(bucket), *names)
        return True
