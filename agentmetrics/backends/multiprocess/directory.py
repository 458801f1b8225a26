"""Which files a multiprocess directory has, and which of them a scrape reads."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

MERGED_KINDS = (
    "counter",
    "histogram",
    "summary",
    "gauge_sum",
    "gauge_min",
    "gauge_max",
    "gauge_mostrecent",
)
"""Kinds of which the files of dead processes can become one, without a scrape noticing it."""

KINDS = (
    *MERGED_KINDS,
    "gauge_all",
    "gauge_liveall",
    "gauge_livesum",
    "gauge_livemin",
    "gauge_livemax",
    "gauge_livemostrecent",
)

_NAME = re.compile(rf"(?P<kind>{'|'.join(KINDS)})_(?P<owner>.+)\.db(?:\.(?P<aside>\d+))?")
_MERGED = re.compile(r"merged-(\d+)")
_NEW = re.compile(r".+\.db\.new")


@dataclass(frozen=True)
class ValueFile:
    """A file of prometheus-client's values."""

    path: Path
    kind: str
    owner: str
    """What prometheus-client wrote into the name: a process id, unless it was told otherwise."""

    @property
    def pid(self) -> int | None:
        return int(self.owner) if self.owner.isascii() and self.owner.isdigit() else None

    @property
    def is_live_gauge(self) -> bool:
        return self.kind.startswith("gauge_live")


@dataclass
class Listing:
    """The files of a directory at one moment.

    A compaction has a number. It puts the files of dead processes aside, as
    ``counter_<pid>.db.<number>``, and makes ``counter_merged-<number>.db`` of them and of the
    merged file before it. So every file with a number up to the merged file's is in that already,
    however far the compaction got; one with a higher number is still to be read.
    """

    workers: list[ValueFile] = field(default_factory=list)
    aside: list[ValueFile] = field(default_factory=list)
    merged: list[ValueFile] = field(default_factory=list)
    done: list[Path] = field(default_factory=list)
    """What is in a merged file already, or was given up."""
    strangers: list[Path] = field(default_factory=list)
    """Files that are named ``*.db``, which prometheus-client reads, and no more like its own."""
    number: int = 0
    """The highest of all."""

    @property
    def read(self) -> list[ValueFile]:
        """What makes up a scrape."""
        return [*self.merged, *self.aside, *self.workers]


def listing(directory: Path) -> Listing:
    """What is in the directory; nothing where there is no such directory."""
    found = Listing()
    numbered: defaultdict[str, list[tuple[int, ValueFile]]] = defaultdict(list)
    aside: list[tuple[int, ValueFile]] = []
    for name in _names(directory):
        match = _NAME.fullmatch(name)
        path = directory / name
        if match is None:
            if _NEW.fullmatch(name):
                found.done.append(path)
            elif name.endswith(".db"):
                found.strangers.append(path)
            continue
        file = ValueFile(path, match["kind"], match["owner"])
        if match["aside"]:
            aside.append((int(match["aside"]), file))
        elif merged := _MERGED.fullmatch(file.owner):
            numbered[file.kind].append((int(merged[1]), file))
        else:
            found.workers.append(file)
    last: dict[str, int] = {}
    for kind, files in numbered.items():
        files.sort(key=lambda one: one[0])
        last[kind], newest = files[-1]
        found.merged.append(newest)
        found.done += [file.path for _, file in files[:-1]]
    for number, file in aside:
        if number <= last.get(file.kind, 0):
            found.done.append(file.path)
        else:
            found.aside.append(file)
    found.number = max([*last.values(), *(number for number, _ in aside)], default=0)
    return found


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208  # names are all that is needed
    except (FileNotFoundError, NotADirectoryError):
        return []


def check_directory(directory: str) -> None:
    """Raise ``ValueError`` unless the multiprocess directory is one and can be written to."""
    if not Path(directory).is_dir() or not os.access(directory, os.W_OK):
        raise ValueError(
            f"{DIRECTORY_VARIABLE}={directory!r} must be an existing directory "
            "that this process can write to"
        )
