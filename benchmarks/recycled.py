"""One scrape of ten workers' files, alone and after 10 000 workers that came and went before.

Every worker's files are those that a process has written which made real calls. The ten are there;
the 10 000 have process ids that no system gives, and what tidies up after them is what each of them
runs as it begins. prometheus-client's own collector reads the same ten, and once, since it takes so
long, the files of the ten and of 10 000 that nobody has tidied up after.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import process_time

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector as TheirCollector
from prometheus_client.registry import Collector

from agentmetrics.backends.multiprocess import MultiprocessCollector
from agentmetrics.backends.multiprocess.compaction import tidy
from agentmetrics.backends.multiprocess.values import read, write
from benchmarks.measure import Timer, interleaved

WORKERS, RECYCLED = 10, 10_000
AGENTS = 40
"""Of each of the ten workers: some 1000 series. A recycled one has made the calls of one agent."""
DEAD = 90_000_000
TEN_WORKERS = "ten workers"
AFTER_RECYCLING = "ten workers, after 10 000 recycled ones"
THEIRS = "prometheus-client's collector, ten workers"
THEIRS_AFTER = "prometheus-client's collector, after 10 000 recycled ones (timed once)"

MAKE = """
import sys
from benchmarks.contenders import prometheus
from benchmarks.workload import agent_names, calls_of, drive
agents = int(sys.argv[1])
drive(prometheus(), calls_of(agent_names(agents), 0, agents))
"""


def made_by_a_worker(directory: Path, agents: int) -> dict[str, Path]:
    """The files that a process leaves which made a call of each of so many agents, by kind."""
    directory.mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    subprocess.run([sys.executable, "-c", MAKE, str(agents)], env=environment, check=True)
    files = {file.stem.rpartition("_")[0]: file for file in directory.glob("*.db")}
    for file in files.values():
        write(file, read(file).entries)  # without the room for more at the end
    return files


@contextmanager
def living() -> Iterator[int]:
    """The id of a process that is there for as long as the files of it are needed."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def place(files: dict[str, Path], directory: Path, pid: int, kinds: tuple[str, ...]) -> None:
    for kind, file in files.items():
        if kind.startswith(kinds):
            shutil.copyfile(file, directory / f"{kind}_{pid}.db")


def scraped(collector: Collector) -> Timer:
    registry = CollectorRegistry()
    registry.register(collector)

    def timer(times: int) -> float:
        began = process_time()
        for _ in range(times):
            generate_latest(registry)
        return process_time() - began

    return timer


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as processes:
        home = Path(name)
        long, short = made_by_a_worker(home / "long", AGENTS), made_by_a_worker(home / "short", 1)
        ten, after, untidy = (home / part for part in ("ten", "after", "untidy"))
        finished = ("counter", "histogram")
        for directory in (ten, after, untidy):
            directory.mkdir()
        for _ in range(WORKERS):
            pid = processes.enter_context(living())
            for directory in (ten, after, untidy):
                place(long, directory, pid, ("",))
        for number in range(RECYCLED):
            for directory in (after, untidy):
                place(short, directory, DEAD + number, finished)
            tidy(after)
        timers = {
            TEN_WORKERS: scraped(MultiprocessCollector(str(ten))),
            AFTER_RECYCLING: scraped(MultiprocessCollector(str(after))),
            THEIRS: scraped(TheirCollector(None, str(ten))),
        }
        rounds = int(sys.argv[1])
        row = interleaved(timers, loops=1, rounds=rounds)
        seconds = {name: measured.seconds for name, measured in row.items()}
        once = scraped(TheirCollector(None, str(untidy)))(1)
        print(json.dumps({**seconds, THEIRS_AFTER: (once,) * rounds}))


if __name__ == "__main__":
    main()
