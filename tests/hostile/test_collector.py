"""The garbage collector ends calls at any moment, and the interpreter does not crash of it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import agentmetrics
from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.hostile.programs import collected

TIMES = times(short=3_000, whole=100_000)


@pytest.mark.parametrize("way", collected.WAYS)
def test_what_the_collector_ends_crashes_nothing_and_is_around_no_other_call(
    way: str, proves: Proves
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", collected.__name__, way, str(TIMES)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert not done.returncode, (done.returncode, done.stderr[-2000:])
    assert not done.stderr
    cancelled, in_flight, agent_after, tenant_after = json.loads(done.stdout)
    assert (cancelled, in_flight) == (TIMES, 0)
    assert (agent_after, tenant_after) == ("unknown", "")
    proves(
        f"{TIMES:,} abandoned in cycles, collections every 1 to 60 allocations",
        f"0 crashed, {cancelled:,.0f} of {TIMES:,} counted as cancelled",
    )


ASKS = {"calls/context.py", "sources/agent.py", "sources/runs.py"}
"""Ask whether the collector is at work before they put back what was around."""
SETS_AT_NO_END = {
    "recording/said.py",  # what is ended by the collector is finished later, and logs then
    "recording/metric.py",  # of values that are somebody's own, which are read at starts
    "sources/seen.py",  # at starts, and never put back
    "sources/langchain/callbacks/fallbacks.py",  # at starts, and never put back
    "sources/langchain/callbacks/lookups.py",
}


def test_whoever_sets_a_context_variable_has_thought_of_the_collector() -> None:
    package, found = Path(agentmetrics.__file__).parent, set()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        made = {
            node.target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and ast.unparse(node.annotation).startswith("ContextVar[")
        } | {"current_run", "agent_around"}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("set", "reset")
                and isinstance(node.value, ast.Name)
                and node.value.id in made
            ):
                found.add(path.relative_to(package).as_posix())
    assert found == ASKS | SETS_AT_NO_END
