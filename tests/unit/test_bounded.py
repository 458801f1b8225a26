"""Names from outside are without end; what is kept of them is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentmetrics.budget.ledger import spool
from agentmetrics.budget.ledger.engine import checked_url
from agentmetrics.budget.ledger.place import spool_place
from agentmetrics.budget.ledger.segment import SegmentFullError
from agentmetrics.budget.ledger.spool import Spool
from agentmetrics.budget.ledger.tally import AMOUNTS, Key
from agentmetrics.recording.log_once import LogOnce

pytestmark = pytest.mark.usefixtures("no_settings")

ONE = (1, *[0] * (len(AMOUNTS) - 1))


def key(number: int) -> Key:
    return Key(900, f"agent {number}", "openai", "gpt-4o", "", "success", "{}")


def append(owed: Spool, number: int) -> None:
    segment = owed.segment
    while True:
        try:
            segment.append(segment.define(number, key(number)), ONE)
        except SegmentFullError:
            segment = owed.grow(segment)
        else:
            return


@pytest.mark.parametrize("is_on_disk", [True, False])
def test_names_that_wait_for_the_database_are_kept_as_bytes_and_in_so_many_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_on_disk: bool
) -> None:
    monkeypatch.setattr(spool, "MOST_BYTES", 2 * 1024 * 1024)
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 256 * 1024)
    monkeypatch.setattr(spool, "MOST_IN_MEMORY", 4)
    url = checked_url(f"sqlite:///{tmp_path / 'spend.db'}")
    owed = Spool(spool_place(url, None) if is_on_disk else None, LogOnce())
    taken: list[Key] = []
    for number in range(20_000):
        append(owed, number)
        if number % 500 == 0:
            taken += [found for found, _ in owed.take()]
    taken += [found for found, _ in owed.take()]
    assert list(owed.take()) == []
    assert taken == [key(number) for number in range(20_000)]
    assert sum(len(segment.keys) for segment in owed._segments) <= 1000
    assert sum(len(segment.numbers) for segment in owed._segments) <= 1000
    in_memory = [segment for segment in owed._segments if segment.path is None]
    assert len(in_memory) <= spool.MOST_IN_MEMORY + 1
    assert not owed.is_on_disk
    again = [found for found, _ in owed.rows_after(0, owed.taken)]
    assert len(again) > 1000
    assert set(again) <= set(taken)
    owed.forget(owed.taken)
    assert len(owed._segments) <= 1
    owed.close(is_written=True)
