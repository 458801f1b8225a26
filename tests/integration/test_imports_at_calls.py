"""Whatever a process needs is imported when it is configured, and nothing at a call or later.

A child that is forked while a thread imports waits for that thread for ever, once it asks for the
same module; a thread of ours that imports does that to the program's own children.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.apps import forking_while_importing, importing
from tests.services.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
SECONDS = 120.0
CHILDREN = 10

SUBJECTS = (
    "memory errors agents responses prices caches",
    "given_recorder",
    "langchain",
    "agent_with_langchain_inside",
    *("budgets", "notices", "ledger_on_postgresql", "ledger_away"),
    *("statsd", "prometheus", "multiprocess"),
)
"""What is done in one program each."""


def imported(subjects: str, url: str) -> dict[str, str]:
    """What a program imports that does this once it is configured, and where we ask for it."""
    done = subprocess.run(
        [sys.executable, importing.__file__, *subjects.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT), "POSTGRESQL": url},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def all_imported(postgres_server: PostgresServer) -> dict[str, dict[str, str]]:
    url = postgres_server.new_database()
    with ThreadPoolExecutor(max_workers=2) as at_once:
        found = at_once.map(lambda subject: imported(subject, url), SUBJECTS)
        return dict(zip(SUBJECTS, found, strict=True))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_nothing_is_imported_once_the_process_is_configured(
    all_imported: dict[str, dict[str, str]], subject: str
) -> None:
    assert all_imported[subject] == {}


@pytest.mark.parametrize("kind", ["starting", "busy"])
def test_a_child_forked_while_threads_import_and_configure_records_and_ends(kind: str) -> None:
    # 200 times: python -m tests.integration.apps.forking_while_importing busy 200
    done = subprocess.run(
        [sys.executable, forking_while_importing.__file__, kind, str(CHILDREN)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=CHILDREN * SECONDS,
    )
    assert json.loads(done.stdout) == [0] * CHILDREN, done.stderr
