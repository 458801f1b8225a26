"""A program with a ledger that a test tells what to do, and may kill."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from agentmetrics import Ledger
from tests.integration.apps import driven
from tests.services.process import without_ours

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
NANO_USD_PER_CALL = 750_000
"""1000 input and 1000 output tokens of gpt-4o-mini."""


class Driven:
    """The program; every call of a method waits for its answer."""

    def __init__(
        self, url: str, spool: Path | None, log: Path, env: Mapping[str, str], program: str
    ) -> None:
        self.url, self.spool = url, spool
        of_spool = {} if spool is None else {"DRIVEN_SPOOL": str(spool)}
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env={
                    **without_ours(os.environ),
                    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
                    "DRIVEN_URL": url,
                    **of_spool,
                    **env,
                },
            )
        self._log = log
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        assert ready, self.log
        answer = self.process.stdout.readline().decode().strip()
        assert answer, self.log
        return answer

    def tell(self, line: str) -> str:
        """Its answer to a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        return self._answer()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def calls(self, many: int) -> None:
        assert self.tell(f"calls {many}") == "made"

    def flush(self) -> bool:
        """Whether everything is in the database now."""
        return self.tell("flush") == "written"

    def jump(self, seconds: float) -> None:
        self.tell(f"jump {seconds}")

    def lost(self) -> dict[str, int]:
        told: dict[str, int] = json.loads(self.tell("lost"))
        return told

    def spool_bytes(self) -> float:
        return float(self.tell("spool"))

    def end(self) -> None:
        assert self.tell("end") == "ended"
        self._close()
        assert self.process.wait(SECONDS) == 0, self.log

    def kill(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


def in_ledger(url: str, spool: Path | None = None) -> int:
    """The calls that somebody finds who opens the ledger now, at whatever time they ended."""
    now = datetime.now(timezone.utc)
    with Ledger(url, spool_dir=spool) as ledger:
        total = ledger.summary(
            "monthly", since=now - timedelta(days=9), until=now + timedelta(days=9)
        ).total
    assert total.cost_nano_usd == total.calls * NANO_USD_PER_CALL
    return total.calls


Drive = Callable[..., Driven]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Drive]:
    """``drive(url, spool)`` starts a program; what still runs at the end of the test is killed.

    ``program`` is the file of another one than ``tests/integration/apps/driven.py``.
    """
    with ExitStack() as running:

        def start(
            url: str, spool: Path | None = None, program: str = driven.__file__, **env: str
        ) -> Driven:
            started = Driven(url, spool, tmp_path / "driven.log", env, program)
            running.callback(started.kill)
            return started

        yield start
