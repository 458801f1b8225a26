"""Children of billiard, and programs that gevent has patched, flush before they end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

CALLS = 3
HEAD = """
    import os, signal, sys, time

    def calls(*_):
        from agentmetrics import track_call
        for _ in range(3):
            with track_call("openai", "gpt-4o-mini") as tracked:
                tracked.record_usage(1000, 1000)
"""
BILLIARD = """
    def waits(told):
        calls()
        told.put("ready")
        time.sleep(60)

    if __name__ == "__main__":
        import billiard
        context = billiard.get_context(sys.argv[2])
        if sys.argv[1] == "process":
            process = context.Process(target=calls)
            process.start()
            process.join()
        elif sys.argv[1] == "terminated":
            told = context.Queue()
            process = context.Process(target=waits, args=(told,))
            process.start()
            told.get()
            process.terminate()
            process.join()
            assert process.exitcode == -signal.SIGTERM, process.exitcode
        else:
            pool = context.Pool(1, maxtasksperchild=1)
            pool.map(calls, [None])
            pool.close()
            pool.join()
"""
GEVENT = """
    from gevent import monkey
    monkey.patch_all()
    calls()
    os.kill(os.getpid(), signal.SIGTERM)
"""


def run(tmp_path: Path, text: str, *arguments: str) -> tuple[int, int | None]:
    """How a program ended, and how many calls its ledger has."""
    program, file = tmp_path / "program.py", tmp_path / "spend.db"
    program.write_text(textwrap.dedent(HEAD) + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "AGENTMETRICS_LEDGER_URL": f"sqlite:///{file}",
            "AGENTMETRICS_LEDGER_FLUSH_INTERVAL": "3600",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.stderr
    with closing(sqlite3.connect(file)) as ledger:
        return done.returncode, ledger.execute(
            "SELECT sum(calls) FROM agentmetrics_ledger"
        ).fetchone()[0]


@pytest.mark.parametrize("end", ["process", "terminated", "pool"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_billiard_flushes_before_it_ends(tmp_path, method: str, end: str) -> None:
    assert run(tmp_path, BILLIARD, end, method) == (0, CALLS)


def test_sigterm_flushes_where_gevent_has_patched_threads_and_locks(tmp_path: Path) -> None:
    assert run(tmp_path, GEVENT) == (-signal.SIGTERM, CALLS)
