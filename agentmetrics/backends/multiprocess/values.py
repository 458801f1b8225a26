"""What one of prometheus-client's files holds: read with a check of every byte, merged, written."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import prometheus_client
from prometheus_client.metrics_core import Metric as PrometheusFamily

HEADER_BYTES = 8
"""How many bytes are in use, as an int, and as many bytes of padding."""
CACHED_KEYS = 1 << 16

_int = struct.Struct("i")
_value = struct.Struct("dd")
_SUFFIXES = ("", "_total", "_sum", "_count", "_bucket", "_created")

Entries = dict[str, tuple[float, float]]
"""A value and its time, by the JSON that prometheus-client has for a sample's name and labels."""


class Key(NamedTuple):
    """What a key says."""

    family: str
    sample: str
    labels: tuple[tuple[str, str], ...]
    help: str


class Contents(NamedTuple):
    """What could be read of a file."""

    entries: Entries
    is_whole: bool
    """False when it is shorter than it says, or holds something that prometheus-client never
    writes. Its entries are those that are right nevertheless."""
    size: int
    checksum: int


UNREADABLE = Contents({}, False, -1, 0)
"""Of a file that cannot be opened."""


def read(file: Path) -> Contents:
    """The entries of a file; raises ``OSError`` alone, whatever it holds.

    prometheus-client's own reader raises four kinds of errors for a torn file, and never returns
    when a length is negative.
    """
    data = file.read_bytes()
    entries: Entries = {}
    if len(data) < HEADER_BYTES:
        return Contents(entries, False, len(data), zlib.crc32(data))
    (said,) = _int.unpack_from(data)
    used = max(0, min(said, len(data)))
    is_whole = said == 0 or HEADER_BYTES <= said == used
    at = HEADER_BYTES
    while at < used:
        length = _int.unpack_from(data, at)[0] if at + _int.size <= used else 0
        end = at + _int.size + length
        value_at = end + 8 - (length + _int.size) % 8  # padded to 8 bytes, and by 8 where it fits
        if length <= 0 or value_at + _value.size > used:
            is_whole = False
            break
        key = data[at + _int.size : end].decode("ascii", "replace")  # JSON is ASCII
        if parsed(key) is None:
            is_whole = False
        else:
            entries[key] = _value.unpack_from(data, value_at)
        at = value_at + _value.size
    return Contents(entries, is_whole, len(data), zlib.crc32(data))


@lru_cache(CACHED_KEYS)
def parsed(key: str) -> Key | None:
    """What a key says; ``None`` when it is none that prometheus-client writes."""
    try:
        key.encode("ascii")
        family, sample, labels, text = json.loads(key)
        if not all(isinstance(one, str) for one in (family, sample, text, *labels.values())):
            return None
        if not sample.startswith(family) or sample[len(family) :] not in _SUFFIXES:
            return None
        "".join((text, *labels.values())).encode()  # half a surrogate pair would end the scrape
        float(labels.get("le", 0))
        _check_names(family, tuple(sorted(labels.keys() - {"le", "quantile"})))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return Key(family, sample, tuple(sorted(labels.items())), text)


@lru_cache(CACHED_KEYS)
def _check_names(family: str, labels: tuple[str, ...]) -> None:
    """Raise ``ValueError`` for a name that prometheus-client would not take for a metric."""
    PrometheusFamily(family, "", "unknown")
    if labels:  # without any it would be a series, with a value in this process' file
        prometheus_client.Gauge(family, "", labels, registry=None)


def merged(kind: str, files: Iterable[Entries]) -> Entries:
    """The entries of several files of a kind as those of one, from which a scrape reads the same.

    The kind is a file's: ``counter``, ``histogram``, ``summary``, ``gauge_sum``, ``gauge_min``,
    ``gauge_max`` or ``gauge_mostrecent``.
    """
    join = _JOIN.get(kind, _add)
    total: Entries = {}
    for entries in files:
        for key, value in entries.items():
            before = total.get(key)
            total[key] = value if before is None else join(before, value)
    return total


def _add(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return one[0] + other[0], 0.0


def _latest(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return other if one[1] < other[1] else one


_Join = Callable[[tuple[float, float], tuple[float, float]], tuple[float, float]]
_JOIN: dict[str, _Join] = {"gauge_min": min, "gauge_max": max, "gauge_mostrecent": _latest}


def write(file: Path, entries: Entries) -> None:
    """A new file with these entries, as prometheus-client would have written them.

    It is written, and not mapped as prometheus-client does: a full disk is then an ``OSError``, not
    a signal that ends the process.
    """
    parts = []
    for key, (value, timestamp) in entries.items():
        encoded = key.encode()
        padded = encoded + b" " * (8 - (len(encoded) + _int.size) % 8)
        parts += [_int.pack(len(encoded)), padded, _value.pack(value, timestamp)]
    body = b"".join(parts)
    head = _int.pack(HEADER_BYTES + len(body)) + bytes(HEADER_BYTES - _int.size)
    try:
        file.write_bytes(head + body)
    except OSError:
        file.unlink(missing_ok=True)
        raise


def replace(file: Path, entries: Entries) -> None:
    """Put these entries in the place of what a file holds, in one step."""
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    write(new, entries)
    new.replace(file)
