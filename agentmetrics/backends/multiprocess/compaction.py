"""Dead processes' files: their live gauges are removed, the others become one file a kind."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agentmetrics.backends.multiprocess import lock, values
from agentmetrics.backends.multiprocess.directory import (
    MERGED_KINDS,
    Listing,
    ValueFile,
    listing,
)
from agentmetrics.backends.multiprocess.owners import Owners
from agentmetrics.backends.multiprocess.skipped import count_skipped, problems, warn_of
from agentmetrics.backends.multiprocess.values import Contents, Entries

DEAD_FILES = 16
"""How many files of dead processes a directory may have before they are merged."""
AT_ONCE = 128
"""How many files one compaction takes: the more, the longer it keeps scrapes waiting."""
SECONDS = 2.0
"""How long a tidying goes on with one compaction after the other."""


def tidy(directory: Path) -> None:
    """Remove what dead processes had in flight, and merge what they finished if it is much.

    Whoever comes by does it: a process that begins or ends, one that runs, and every scrape. It
    raises nothing: what fails is logged once.
    """
    try:
        found, owners = listing(directory), Owners()
        _sweep(found, owners)
        # Mostly nothing is due, and then nobody is kept waiting.
        if _is_due(found, _dead(found, owners)):
            until = time.monotonic() + SECONDS
            while compact(directory) and time.monotonic() < until:
                pass
    except Exception as error:
        problems.warn(
            ("tidy", type(error)),
            "the files of dead processes in the multiprocess directory stay: %s",
            type(error).__name__,
        )


def sweep_dead_workers(directory: Path) -> None:
    """Remove the live gauges of processes that are gone: what they had in flight is over.

    The directory must be shared by processes that see each other's process ids.
    """
    _sweep(listing(directory), Owners())


def _sweep(found: Listing, owners: Owners) -> None:
    for file in found.workers:
        if file.is_live_gauge and file.pid is not None and owners.is_over(file.pid, file.path):
            file.path.unlink(missing_ok=True)


def compact(directory: Path) -> bool:
    """Merge files of dead processes, unless somebody else does or a scrape is in progress.

    Returns whether there is more to do. It may be ended at any point, and nothing that was in the
    files is lost or counted twice: see ``Listing``.
    """
    with lock.alone(directory) as is_alone:
        if not is_alone:
            return False
        found = listing(directory)
        for path in found.done:
            path.unlink(missing_ok=True)
        dead = _dead(found, Owners())
        if not dead and not found.aside:
            return False
        _merge(directory, found, dead[:AT_ONCE])
        return len(dead) > AT_ONCE


def _dead(found: Listing, owners: Owners) -> list[ValueFile]:
    return [
        file
        for file in found.workers
        if file.kind in MERGED_KINDS
        and file.pid is not None
        and owners.has_left(file.pid, file.path)
    ]


def _is_due(found: Listing, dead: list[ValueFile]) -> bool:
    return bool(
        len(dead) >= DEAD_FILES or found.aside or found.done or any(map(_is_headless, dead))
    )


def _is_headless(file: ValueFile) -> bool:
    """Whether it ends before its header does, on which prometheus-client's own scrape fails."""
    with suppress(FileNotFoundError):
        return file.path.stat().st_size < values.HEADER_BYTES
    return False


def _merge(directory: Path, found: Listing, dead: list[ValueFile]) -> None:
    number = found.number + 1
    kinds = {file.kind for file in (*found.aside, *dead)}
    before = [file for file in (*found.merged, *found.aside) if file.kind in kinds | {"counter"}]
    contents = {file: values.read(file.path) for file in before} | _read(dead)
    torn = [
        file.path.name
        for file, of in contents.items()
        if not of.is_whole and not found.is_counted(file)
    ]
    parts: defaultdict[str, list[Entries]] = defaultdict(list)
    for file, of in contents.items():
        parts[file.kind].append(of.entries)
    if torn:
        parts["counter"].append(count_skipped(len(torn)))
        kinds.add("counter")
    # The counters come first, since they say which torn files are counted: see ``is_counted``.
    made = {kind: directory / f"{kind}_merged-{number}.db" for kind in sorted(kinds)}
    for kind, path in made.items():
        values.write(_unfinished(path), values.merged(kind, parts[kind]))
    # A scrape that is not ours and begins from here on, until the last has its name, misses some.
    moved = {file: file.path.rename(f"{file.path}.{number}") for file in dead if file in contents}
    owners = Owners()
    if not all(_is_as_read(owners, file, at, contents[file]) for file, at in moved.items()):
        for file, at in moved.items():
            _put_back(file, at)
        return
    for kind, path in made.items():
        _unfinished(path).rename(path)
        for file in found.merged:
            if file.kind == kind:
                file.path.unlink(missing_ok=True)
    for path in (*(file.path for file in found.aside), *moved.values()):
        path.unlink(missing_ok=True)
    warn_of(torn)


def _read(files: Iterable[ValueFile]) -> dict[ValueFile, Contents]:
    """What they hold, without those that are gone by now, or another user's alone."""
    contents = {}
    for file in files:
        with suppress(OSError):
            contents[file] = values.read(file.path)
    return contents


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _is_as_read(owners: Owners, file: ValueFile, moved: Path, contents: Contents) -> bool:
    """Whether nobody has opened it since it was read: a process may just have got the number."""
    assert file.pid is not None
    return owners.has_left(file.pid, moved) and values.read(moved).checksum == contents.checksum


def _put_back(file: ValueFile, moved: Path) -> None:
    """The name is free, unless a process made a new file in between: then both are read."""
    with suppress(FileExistsError):
        os.link(moved, file.path)
        moved.unlink()
