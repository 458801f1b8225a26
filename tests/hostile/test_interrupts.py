"""A signal handler in the middle of a call: a call that it makes counts, and one that it stops does
not count twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.programs import interrupted, told_to_stop

PLACES = times(short=6, whole=40)
STRIDE = times(short=23, whole=1)
"""At every so many of the places of a call it is told to stop."""


@pytest.mark.parametrize("backend", ["memory", "statsd", "prometheus", "multiprocess"])
def test_no_call_is_lost_to_one_that_is_made_in_the_middle_of_it(
    backend: str, tmp_path: Path, proves: Proves
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", interrupted.__name__, backend, str(PLACES), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert not done.returncode, done.stderr[-5000:]
    came = json.loads(done.stdout)
    assert came.pop("errors") == 0
    interrupts = made = 0
    for work, of in came.items():
        places, calls = of.pop("places"), of.pop("calls")
        assert places[0] > PLACES / 2, work
        assert set(of.values()) == {calls}, (work, of)
        interrupts, made = interrupts + places[0], made + calls
    proves(
        f"{interrupts:,} interrupts of calls, first calls of a recorder, readings and flushes",
        f"0 hung, 0 raised, {made:,} of {made:,} calls in the metrics and in the ledger",
    )


def test_a_call_that_is_told_to_stop_is_in_the_files_what_it_is_in_memory(
    tmp_path: Path, proves: Proves
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", told_to_stop.__name__, str(STRIDE), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not done.returncode, done.stderr[-5000:]
    places, undisturbed, samples, differ = json.loads(done.stdout)
    assert places > 10
    assert undisturbed == places
    assert differ == {}
    proves(
        f"{places:,} calls in multiprocess mode whose signal handler raises",
        f"{undisturbed:,.0f} of {places:,} other calls counted, "
        f"{samples:,} samples in files as in memory",
    )
