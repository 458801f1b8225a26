"""Where the spools of a ledger are: a directory that is private to its user, and bounded."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from sqlalchemy import URL

from agentmetrics.budget.ledger.engine import is_sqlite
from agentmetrics.budget.ledger.segment import HAS_LOCKS
from agentmetrics.errors import ConfigurationError

MOST_BYTES = 1024 * 1024 * 1024
"""All files of a directory: what processes that died leave while the database is away."""


class SpoolPlace:
    """The directory in which all processes of one ledger have their spools."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self, size_bytes: int) -> None:
        """See that a file of this size can be made here. Raises ``OSError``."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_of_others(self.directory):  # such as one made in advance under /tmp
            raise PermissionError("the directory belongs to another user")
        if self._taken() + size_bytes > MOST_BYTES:
            raise OSError(f"{MOST_BYTES >> 20} MiB of it wait for the database")

    def _taken(self) -> int:
        taken = 0
        for entry in os.scandir(self.directory):
            with suppress(FileNotFoundError):  # another process has just removed its own
                taken += entry.stat().st_size
        return taken

    def tidy(self) -> None:
        """Remove the directory if nothing is in it."""
        with suppress(OSError):
            self.directory.rmdir()


def _is_of_others(directory: Path) -> bool:
    found = os.lstat(directory)
    return not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid()


def spool_place(url: URL, chosen: Path | None) -> SpoolPlace | None:
    """Where the spools of the ledger at ``url`` are, in the ``chosen`` directory or by default.

    By default beside the file of SQLite, else in a directory of this user among the temporary ones.
    ``None`` on a platform without file locks. Raises ``ConfigurationError`` when what was chosen is
    no directory.
    """
    if not HAS_LOCKS:
        return None
    if chosen is not None:
        chosen = chosen.absolute()
        if chosen.exists() and not chosen.is_dir():
            raise ConfigurationError(
                f"the spool directory {str(chosen)!r} is a file: name a directory"
            )
        return SpoolPlace(chosen / _name(url))
    if is_sqlite(url):
        return SpoolPlace(Path(f"{url.database}-spool"))
    root = Path(tempfile.gettempdir()) / f"agentmetrics-{os.geteuid()}"
    return SpoolPlace(root / _name(url))


def _name(url: URL) -> str:
    """One name for one database, whoever connects to it."""
    where = "\0".join(map(str, (url.get_backend_name(), url.host, url.port, url.database)))
    return f"ledger-{blake2b(where.encode(), digest_size=8).hexdigest()}"
