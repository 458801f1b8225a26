"""A real PostgreSQL server that can be stopped, killed and started again on the same port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.services.process import free_port, wait_for_port

USER = "postgres"
PASSWORD = "s3cret"  # what a test looks for where it must not be


def binaries() -> Path:
    """Where initdb and postgres are, which Debian has in no one's path."""
    asked = shutil.which("pg_config")
    if asked:
        told = Path(subprocess.check_output([asked, "--bindir"], text=True).strip())
        if (told / "initdb").exists():
            return told
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "initdb is not installed: apt-get install --no-install-recommends postgresql"
    return found[-1].parent


class PostgresServer:
    """A server on a loopback port, with a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._data = directory / "data"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make its data directory. It knows the user ``postgres``, by password over TCP."""
        if os.geteuid() == 0:  # it refuses to run as root
            owner = pwd.getpwnam(USER)
            os.chown(self._directory, owner.pw_uid, owner.pw_gid)
        password = self._directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            "initdb",
            *("-D", str(self._data), "-U", USER, "-A", "scram-sha-256"),
            *("--pwfile", str(password), "--no-sync"),
        ).wait(60)
        assert (self._data / "PG_VERSION").exists(), self._log.read_text()

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        as_user = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [str(binaries() / program), *arguments],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **as_user,  # type: ignore[call-overload]
            )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._run(
            "postgres",
            *("-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1"),
            *("-k", str(self._directory), "-F"),
            *("-c", "shared_preload_libraries=pg_stat_statements"),  # its own count of queries
        )
        wait_for_port(self.port, self._process)
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, self._log.read_text()

    def stop(self, how: int = signal.SIGINT) -> None:
        """End it: ``SIGINT`` breaks all connections off, ``SIGQUIT`` is a crash."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(30)

    def restart(self, how: int = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It is not there meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Every process of it is stopped where it is: connections are taken, and nothing is
        answered."""
        self._signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, how: int) -> None:
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(how)

    @contextmanager
    def locked(self, url: str, tables: str) -> Iterator[None]:
        """Another session keeps these tables to itself, for readers as well."""
        with psycopg.connect(url) as other:
            other.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
            yield

    @contextmanager
    def stuck(self, url: str, table: str, begin: Callable[[], None]) -> Iterator[int]:
        """Another session has locked ``table``, and what ``begin`` starts waits for that; gives
        the number of the server's process that waits, which goes on as if nothing was in the end,
        if it was stopped."""
        with psycopg.connect(url) as other:
            other.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            begin()
            waits = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            here = " AND datname = current_database()"
            while not (found := other.execute(waits + here).fetchone()):
                other.execute("SELECT pg_sleep(0.02), pg_stat_clear_snapshot()")
            try:
                yield found[0]
            finally:
                with suppress(ProcessLookupError):
                    os.kill(found[0], signal.SIGCONT)

    @contextmanager
    def frozen(self, url: str, table: str, begin: Callable[[], None]) -> Iterator[None]:
        """That process is stopped as well: nobody is left there who could give up."""
        with self.stuck(url, table, begin) as process:
            os.kill(process, signal.SIGSTOP)
            yield

    def url(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a database with nothing in it."""
        name = f"test_{uuid.uuid4().hex}"  # or it would find the spool of an earlier one
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the whole session; who stops it starts it again."""
    # pytest's own temporary directories cannot be entered by another user.
    directory = Path(tempfile.mkdtemp(prefix="agentmetrics-postgres-"))
    server = PostgresServer(directory)
    try:
        server.make()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Callable[[], str]:
    """``postgres()`` gives the URL of a new database of a real PostgreSQL server."""
    return postgres_server.new_database


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger that is not there yet, in each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'spend.db'}"
    url: str = request.getfixturevalue("postgres")()
    return url
