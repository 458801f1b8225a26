"""Kills a compaction at each thing that it does to a file, and says what scrapes then add up to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import mmap_key

from agentmetrics.backends.multiprocess import MultiprocessCollector, collector, compaction
from agentmetrics.backends.multiprocess.values import write

DEAD = 99_999_900
EVENTS = {"open", "os.rename", "os.remove", "os.link"}


def make_files(directory: Path, first: int) -> None:
    """Three dead workers' counters and one's histogram, and one of which there is no more."""
    jobs = mmap_key("jobs", "jobs_total", [], [], "Jobs.")
    for pid in range(first, first + 3):
        write(directory / f"counter_{pid}.db", {jobs: (1.0, 0.0)})
    took = [("took_bucket", ["le"], ["+Inf"]), ("took_sum", [], [])]
    samples = {mmap_key("took", *sample, "How long."): (1.0, 0.0) for sample in took}
    write(directory / f"histogram_{first}.db", samples)
    (directory / f"summary_{first}.db").touch()


def die_at(step: int, directory: Path) -> bool:
    """Whether a compaction did so many steps that it was killed before this one."""
    pid = os.fork()
    if pid == 0:
        left = [step]

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            if event in EVENTS and str(directory) in str(arguments[0]):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        compaction.tidy(directory)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def read(scrape: Any) -> dict[str, float]:
    return {sample.name: sample.value for family in scrape for sample in family.samples}


def main() -> None:
    compaction.DEAD_FILES = 1
    home = Path(sys.argv[1])
    template = home / "template"
    template.mkdir()
    make_files(template, DEAD)
    compaction.tidy(template)  # there is a merged file already
    make_files(template, DEAD + 10)
    said, step = [], 0
    while True:
        step += 1
        directory = home / str(step)
        shutil.copytree(template, directory)
        was_killed = die_at(step, directory)
        at_once = read(collector._families(collector._entries(directory)))
        after = read(MultiprocessCollector(str(directory)).collect())
        files = sorted(path.name.split("-")[0] for path in directory.iterdir())
        said.append({"at once": at_once, "after": after, "files": files})
        if not was_killed:
            break
    print(json.dumps(said))


if __name__ == "__main__":
    main()
