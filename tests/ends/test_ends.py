"""At whatever end of a process: what had finished is kept, and nothing is in flight any more."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.ends.ends import PLAIN, End, ends
from tests.ends.house import House, house
from tests.ends.place import Kept, python
from tests.ends.table import PAGE, row

ENDS = ends()


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with house() as made:
        yield made


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.id)
def test_what_had_finished_is_kept(home: House, end: End) -> None:
    kept = home.measure(end)
    finished = kept.finished
    assert finished > 0
    sent = finished if end.is_ordinary else kept.statsd
    written = finished if end.is_ordinary else kept.written
    assert kept == Kept(
        finished,
        written=written,
        ledger=finished,
        statsd=sent,
        prometheus=finished,
        budgets=finished,
        in_flight=0,
    )
    assert row(end, kept) in PAGE.read_text(encoding="utf-8").splitlines()


def test_what_ends_while_the_program_waits_for_its_ledger_is_kept(home: House) -> None:
    place = home.place()
    with place.running(*python(PLAIN, "daemon-thread")) as process:
        place.until_acknowledged(process, 10)
        with place.locked():
            time.sleep(1)
        place.until_ended(process)
    kept = place.kept()
    assert kept.finished > 10
    # The thread may be gone between what it records of its last call and what it says of it.
    assert kept.finished <= kept.ledger <= kept.prometheus <= kept.finished + 1


def test_the_page_has_these_ends_and_no_others() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert [name for name in names if name != "end"] == [end.name for end in ENDS]
