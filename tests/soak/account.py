"""What a process says of its calls itself: one file each, a record before a call and one after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

# Of gpt-4o-mini: 0.15 USD a million input tokens, 0.60 output.
NANO_USD_PER_INPUT, NANO_USD_PER_OUTPUT = 150, 600
SUFFIX = ".account"
_RECORD = Struct("<c7xqqq")
_BEGUN, _ENDED = b"b", b"e"


class Sum(NamedTuple):
    """Calls, and what they come to."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0

    def plus(self, other: Sum) -> Sum:
        return Sum(*(one + another for one, another in zip(self, other, strict=True)))


def sum_of(input_tokens: int, output_tokens: int) -> Sum:
    """What one call comes to."""
    cost = input_tokens * NANO_USD_PER_INPUT + output_tokens * NANO_USD_PER_OUTPUT
    return Sum(1, input_tokens, output_tokens, cost)


class Account:
    """The file of this process. A record is one write to a file that is opened for appending: it
    is whole, and the kernel's to keep."""

    def __init__(self, directory: Path, agent: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(directory / f"{agent}{SUFFIX}", flags, 0o600)

    def begun(self, number: int, input_tokens: int, output_tokens: int) -> None:
        """The call is about to be made: from here on it may be in the ledger."""
        os.write(self._file, _RECORD.pack(_BEGUN, number, input_tokens, output_tokens))

    def ended(self, number: int, input_tokens: int, output_tokens: int) -> None:
        """The program has the call back: from here on it must be in the ledger."""
        os.write(self._file, _RECORD.pack(_ENDED, number, input_tokens, output_tokens))


class Told(NamedTuple):
    """What a process has told: the sum of what it had back, and the calls that it had begun."""

    acknowledged: Sum
    uncertain: tuple[Sum, ...]

    def possible(self) -> set[Sum]:
        """Every sum that its ledger may have: what was acknowledged, and any of the others."""
        sums = {self.acknowledged}
        for one in self.uncertain:
            sums |= {some.plus(one) for some in sums}
        return sums


def told(path: Path) -> Told:
    """What a process has told in its file."""
    acknowledged, open_calls = Sum(), {}
    for kind, number, input_tokens, output_tokens in _RECORD.iter_unpack(path.read_bytes()):
        one = sum_of(input_tokens, output_tokens)
        if kind == _BEGUN:
            open_calls[number] = one
        else:
            assert open_calls.pop(number) == one
            acknowledged = acknowledged.plus(one)
    return Told(acknowledged, tuple(open_calls.values()))


def accounts(directory: Path) -> Iterator[tuple[str, Path]]:
    """The files of all processes, by the name of their agent."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        yield path.stem, path


def acknowledged_so_far(directory: Path) -> int:
    """Roughly, and quickly: two records are a call."""
    return sum(path.stat().st_size for _, path in accounts(directory)) // (2 * _RECORD.size)
