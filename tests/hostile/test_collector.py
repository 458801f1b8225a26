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

TIMES = times(short=2_000, whole=100_000)


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


def test_what_a_finalizer_records_in_the_middle_of_a_collection_is_counted(proves: Proves) -> None:
    done = subprocess.run(
        [sys.executable, "-m", collected.__name__, collected.finalizers.__name__, str(TIMES)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert not done.returncode, (done.returncode, done.stderr[-2000:])
    assert not done.stderr
    made, calls, tools, runs = json.loads(done.stdout)
    assert {calls, tools, runs} == {made}
    proves(
        f"{TIMES:,} objects in cycles whose __del__ records a call, a tool and a run, amid others",
        f"0 crashed, {calls:,.0f} of {made:,} calls counted, and as many tools and runs",
    )


NEVER_IN_ONE = {
    "sources/langchain/callbacks/attribution.py",
    "sources/langchain/callbacks/fallbacks.py",  # in events of LangChain's, which has its own
    "sources/langchain/callbacks/lookups.py",
}


def test_whoever_has_a_context_variable_asks_whether_the_collector_is_at_work() -> None:
    package, found, asking = Path(agentmetrics.__file__).parent, set(), set()
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        made = {
            node.target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and ast.unparse(node.annotation).startswith("ContextVar[")
        } | {"current_run", "agent_around"}
        name = path.relative_to(package).as_posix()
        if "is_collecting()" in text:
            asking.add(name)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("get", "set", "reset")
                and isinstance(node.value, ast.Name)
                and node.value.id in made
            ):
                found.add(name)
    assert found - asking == NEVER_IN_ONE
