"""Which files a multiprocess directory has, and which of them a scrape reads."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
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
_UNFINISHED = re.compile(r".+\.db\.new")


@dataclass(frozen=True)
class ValueFile:
    """A file of prometheus-client's values."""

    path: Path
    kind: str
    owner: str
    """What prometheus-client wrote into the name: a process id, unless it was told otherwise."""
    number: int = 0
    """That of the compaction that made it or put it aside."""

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

    def is_counted(self, file: ValueFile) -> bool:
        """Whether the merged counters have counted already that this file, put aside, is torn.

        They are the first that a compaction puts in place.
        """
        return file in self.aside and any(
            file.number <= one.number for one in self.merged if one.kind == "counter"
        )


def listing(directory: Path) -> Listing:
    """What is in the directory; nothing where there is no such directory."""
    found = Listing()
    every: defaultdict[str, list[ValueFile]] = defaultdict(list)
    for name in _names(directory):
        path = directory / name
        if match := _NAME.fullmatch(name):
            merged = _MERGED.fullmatch(match["owner"])
            number = int(match["aside"] or (merged[1] if merged else 0))
            file = ValueFile(path, match["kind"], match["owner"], number)
            if match["aside"]:
                found.aside.append(file)
            elif merged:
                every[file.kind].append(file)
            else:
                found.workers.append(file)
        elif _UNFINISHED.fullmatch(name):
            found.done.append(path)
        elif name.endswith(".db"):
            found.strangers.append(path)
    found.number = max((file.number for file in (*found.aside, *chain(*every.values()))), default=0)
    last = {}
    for kind, files in every.items():
        *before, newest = sorted(files, key=attrgetter("number"))
        last[kind] = newest.number
        found.merged.append(newest)
        found.done += [file.path for file in before]
    is_in = {file: file.number <= last.get(file.kind, 0) for file in found.aside}
    found.done += [file.path for file in found.aside if is_in[file]]
    found.aside = [file for file in found.aside if not is_in[file]]
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
