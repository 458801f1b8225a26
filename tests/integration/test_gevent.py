"""Agents in gevent's greenlets, as gunicorn's and Celery's workers of that name run them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.apps import greenlets


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program has counted; gevent replaces what a process waits with, so it has one."""
    directory = tmp_path_factory.mktemp("greenlets")
    done = subprocess.run(
        [sys.executable, "-m", "gevent.monkey", "--module", greenlets.__name__, str(directory)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.returncode, done.stderr
    assert not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_calls_of_greenlets_that_take_turns_are_their_own_agents(came: dict[str, Any]) -> None:
    assert came["by agent"] == [greenlets.CALLS_EACH]
    assert came["errors"] == 0


def test_a_greenlet_that_is_killed_or_times_out_leaves_a_cancelled_call(
    came: dict[str, Any],
) -> None:
    assert came["active while they hung"] == 2 * greenlets.STOPPED
    assert came["active"] == 0
    assert came["stopped"] == {"success": 0, "error": 0, "cancelled": 3 * greenlets.STOPPED}


def test_the_ledger_has_the_calls_of_greenlets_and_of_a_child_that_was_forked(
    came: dict[str, Any],
) -> None:
    assert came["the child's exit"] == 0
    assert came["of the child"] == [greenlets.CALLS_EACH]
    in_all = greenlets.CALLS_EACH * (greenlets.AGENTS + 1) + 3 * greenlets.STOPPED
    assert came["in the ledger"] == in_all
