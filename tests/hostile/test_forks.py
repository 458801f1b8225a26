"""Children forked beside busy threads make their calls and end, and no count is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from agentmetrics import Ledger
from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.programs import forking

FORKS = times(short=6, whole=200)
THREADS = times(short=8, whole=3)
"""All do the same in turn; what a fork waits for grows with how many want the interpreter."""


def in_files(directory: Path) -> Counter[str]:
    """Calls by agent, as another process sees them."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    found: Counter[str] = Counter()
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == "llm_calls_total":
                found[sample.labels["agent_name"]] += int(sample.value)
    return found


@pytest.mark.parametrize("kind", forking.KINDS)
def test_every_child_makes_its_call_and_ends_and_every_call_is_counted(
    kind: str, tmp_path: Path, proves: Proves
) -> None:
    files, url = tmp_path / "files", f"sqlite:///{tmp_path}/x.db"
    files.mkdir()
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", forking.__name__, kind, str(FORKS), str(THREADS), url],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(files)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    seconds = time.monotonic() - began
    assert not done.returncode, done.stderr[-2000:]
    codes, made = json.loads(done.stdout)
    assert codes == [0] * FORKS
    assert in_files(files) == {"parent": made, "child": FORKS}
    with Ledger(url) as ledger:
        groups = ledger.summary(by=["agent_name"]).groups
    written = {group.labels["agent_name"]: group.amounts.calls for group in groups}
    assert written == {"parent": made, "child": FORKS}
    proves(
        f"{FORKS} children beside {THREADS} threads that call, import, flush and make recorders",
        f"0 hung, 0 crashed; {FORKS} of {FORKS} calls of children and {made:,} of {made:,} of the "
        f"parent in Prometheus and ledger; {seconds / FORKS:.2f} s a child",
    )
