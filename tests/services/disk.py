"""A disk of its own for a test, as small as it likes, full or read-only when it says so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


class Disk:
    """A file system in memory, mounted at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, kib: int) -> None:
        self.path.mkdir()
        options = f"size={kib}k,mode=700,uid={os.geteuid()}"
        _as_root("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path))

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing is made here or opened for writing meanwhile; what is open by then goes on."""
        _as_root("mount", "--bind", str(self.path), str(self.path))
        try:
            _as_root("mount", "-o", "remount,bind,ro", str(self.path))
            yield
        finally:
            self.unmount()

    @contextmanager
    def full(self) -> Iterator[None]:
        """There is no room at all meanwhile."""
        self.fill()
        try:
            yield
        finally:
            self.empty()

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.path / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                return

    def empty(self) -> None:
        (self.path / "ballast").unlink()

    def unmount(self) -> None:
        _as_root("umount", "--lazy", str(self.path))


def _as_root(*command: str) -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    done = subprocess.run([*sudo, *command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]} needs root, or sudo without a password: {done}"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    """``disk(kib)`` mounts one of that size."""
    with ExitStack() as mounted:

        def mount(kib: int) -> Disk:
            made = Disk(tmp_path / "disk")
            made.mount(kib)
            mounted.callback(made.unmount)
            return made

        yield mount
