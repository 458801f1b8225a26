"""The lock of a multiprocess directory: scrapes share it, and a compaction has it alone.

It is a POSIX lock, which ends with its holder and is not inherited by a fork. Such a lock is the
process' and not a thread's, so the threads of a process take turns by another one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentmetrics.recording.fork import within

try:
    import fcntl
except ImportError:  # Windows, where every compaction is left out
    fcntl = None  # type: ignore[assignment]

NAME = "agentmetrics.lock"
POLL_SECONDS = 0.005


@contextmanager
def shared(directory: Path, wait_seconds: float) -> Iterator[bool]:
    """Keep compactions out; gives False if it could not be had in this time."""
    with _held(directory, "LOCK_SH", wait_seconds) as is_held:
        yield is_held


@contextmanager
def alone(directory: Path) -> Iterator[bool]:
    """Keep scrapes and other compactions out; gives False if there are any now."""
    with _held(directory, "LOCK_EX", 0.0) as is_held:
        yield is_held


@contextmanager
def _held(directory: Path, kind: str, wait_seconds: float) -> Iterator[bool]:
    deadline = time.monotonic() + wait_seconds
    # By process: a fork in C may leave the child a lock that a thread of the parent holds.
    turns = _turns.setdefault(os.getpid(), threading.Lock())
    with within(wait_seconds, turns) as is_held:
        if fcntl is None or not is_held:
            yield False
            return
        try:
            descriptor = _locked(directory / NAME, getattr(fcntl, kind), deadline)
        except OSError:  # the directory is gone, or another user's
            descriptor = None
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _locked(path: Path, kind: int, deadline: float) -> int | None:
    while True:
        # Created as prometheus-client creates the files beside it: who may use those may lock them.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if _takes(descriptor, kind, deadline):
            if _is_at(path, descriptor):
                return descriptor
        elif time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        os.close(descriptor)  # somebody emptied the directory: the lock is another file now


def _takes(descriptor: int, kind: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


_turns: dict[int, threading.Lock] = {}
