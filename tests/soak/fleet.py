"""The processes of a soak: started, ended at random, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.services.process import group, members, without_ours

ROOT = Path(__file__).parents[2]
KINDS = ("alone", "handler", "pool", "executors", "forks-in-c")
"""What a process may be."""
SETTINGS = {"AGENTMETRICS_BACKEND": "memory", "AGENTMETRICS_LEDGER_FLUSH_INTERVAL": "0.3"}


@dataclass
class Slot:
    """A place in which there is always one process, with its children."""

    name: str
    env: Mapping[str, str]
    directory: Path
    log: Path
    _running: ExitStack = field(default_factory=ExitStack)
    _process: subprocess.Popen[bytes] | None = None

    def start(self, kind: str, seed: int) -> None:
        """Start another one; of the one before nothing lives by then."""
        self._running.close()
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.soak.worker"]
        path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        self._process = self._running.enter_context(
            group(
                [*command, kind, self.name, str(self.directory), str(seed)],
                log=self.log,
                env={**without_ours(os.environ), **SETTINGS, **self.env, "PYTHONPATH": path},
                cwd=self.directory,
            )
        )

    def signal(self, how: signal.Signals, chance: Random) -> None:
        """End the process, or one that it has started, or all of them at once."""
        assert self._process is not None
        there = sorted(members(self._process))
        chosen = there if chance.random() < 0.3 else [chance.choice(there)] if there else []
        for process in chosen:
            try:
                os.kill(process, how)
            except ProcessLookupError:
                continue

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self) -> None:
        """Kill what is left."""
        self._running.close()


class Fleet:
    """Slots that are started again whenever their process has ended."""

    def __init__(self, slots: list[Slot], chance: Random) -> None:
        self._slots, self._chance = slots, chance
        self.done: Counter[str] = Counter()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *raised: object) -> None:
        for slot in self._slots:
            slot.stop()

    def keep_running(self) -> None:
        for slot in self._slots:
            if slot.has_ended:
                slot.start(self._chance.choice(KINDS), self._chance.randrange(1 << 40))
                self.done["processes started"] += 1

    def end_one(self) -> None:
        """By SIGKILL, or by SIGTERM, which some have a handler for."""
        how = self._chance.choice([signal.SIGKILL, signal.SIGTERM])
        self._chance.choice(self._slots).signal(how, self._chance)
        self.done[how.name] += 1
