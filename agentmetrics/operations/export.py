"""Writes the operations kit: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentmetrics.operations.kit import Kit


def check_free(directory: Path) -> None:
    """Raise ``ValueError``, with one sentence, unless this is an empty directory or none yet."""
    if directory.is_dir() and any(directory.iterdir()):
        raise ValueError(
            f"{str(directory)!r} is not empty: name an empty directory, or replace the files of "
            "the kit in it with --force"
        )


def write_kit(kit: Kit, directory: Path) -> None:
    """Write the files of the kit; others in the directory stay as they are.

    They are written beside their place, and moved there once all are complete.

    Raises ``ValueError``, with one sentence, when a file or a broken link is in the place of a
    directory, or a directory in that of a file, and ``OSError`` when the files cannot be written.
    """
    _check_places(kit, directory)
    if directory.is_dir():
        with _staged(kit, directory / f".agentmetrics-{os.getpid()}") as staging:
            for path in kit.files:
                place = directory / path
                if path in kit.edited and place.exists():
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                (staging / path).replace(place)
    else:
        directory.parent.mkdir(parents=True, exist_ok=True)
        beside = directory.parent / f".{directory.name}-{os.getpid()}"
        with _staged(kit, beside) as staging:
            staging.replace(directory)


def _check_places(kit: Kit, directory: Path) -> None:
    directories = {directory, *directory.parents}
    for path in kit.files:
        place = directory / path
        directories |= set(place.parents)
        if place.is_dir():
            raise ValueError(f"{str(place)!r} is a directory: the kit has a file of that name")
    for parent in sorted(directories):
        if parent.is_symlink() and not parent.exists():
            raise ValueError(f"{str(parent)!r} is a link to a path that does not exist")
        if parent.exists() and not parent.is_dir():
            raise ValueError(f"{str(parent)!r} is a file: name a directory to write the kit to")


@contextmanager
def _staged(kit: Kit, staging: Path) -> Iterator[Path]:
    """The files in a directory of their own, which is gone afterwards."""
    try:
        staging.mkdir()
        for path, text in kit.files.items():
            (staging / path).parent.mkdir(parents=True, exist_ok=True)
            mode = 0o600 if path in kit.private else 0o666  # less what the umask takes
            descriptor = os.open(staging / path, os.O_WRONLY | os.O_CREAT, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
