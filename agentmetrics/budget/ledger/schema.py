"""The tables of the ledger, and how an older ledger becomes a newer one.

A migration adds and never takes away: processes of an older version go on writing until they are
started anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, inspect, text

from agentmetrics.budget.ledger.tally import AMOUNTS, Key

Migrations = Sequence[Sequence[str]]
"""For each version the statements that lead to it from the one before."""

KEY_COLUMNS = Key._fields
RESERVED_FOR = ("agent_name", "provider", "model", "dimensions")
"""The labels that a call has before it is made."""

METADATA = MetaData()
LEDGER = Table(
    "agentmetrics_ledger",
    METADATA,
    Column("bucket", BigInteger, primary_key=True, autoincrement=False),
    Column("key_hash", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in KEY_COLUMNS[1:]),
    *(Column(name, BigInteger, nullable=False) for name in AMOUNTS),
)
"""A row for every key. The hash of its names stands in the primary key for them: they can be longer
than an index of PostgreSQL takes."""

WRITERS = Table(
    "agentmetrics_ledger_writers",
    METADATA,
    Column("writer", Text, primary_key=True),
    Column("batch", BigInteger, nullable=False),
    Column("written_at", BigInteger, nullable=False),
)
"""The last batch of every writer: written with its rows, so a batch is there once or not at all."""

CLAIMS = Table(
    "agentmetrics_ledger_claims",
    METADATA,
    Column("claimed", Text, primary_key=True),
    Column("claimant", Text, nullable=False),
    Column("claimed_at", BigInteger, nullable=False),
)
"""What one process of many is to do, and which one: budget notices that are sent once."""

RESERVATIONS = Table(
    "agentmetrics_ledger_reservations",
    METADATA,
    Column("id", Text, primary_key=True),
    *(Column(name, Text, nullable=False) for name in RESERVED_FOR),
    Column("nano_usd", BigInteger, nullable=False),
    Column("reserved_until", BigInteger, nullable=False),
)
"""The most that a call can cost, for as long as it is not written: by the call's labels, since what
budgets it counts for is for each program to say."""

VERSION = Table(
    "agentmetrics_ledger_version", METADATA, Column("version", BigInteger, nullable=False)
)

MIGRATIONS: Migrations = (
    (
        """
        CREATE TABLE agentmetrics_ledger (
            bucket BIGINT NOT NULL,
            key_hash TEXT NOT NULL,
            agent_name TEXT NOT NULL,
            provider TEXT NOT NULL,
            model TEXT NOT NULL,
            status TEXT NOT NULL,
            dimensions TEXT NOT NULL,
            calls BIGINT NOT NULL,
            unpriced_calls BIGINT NOT NULL,
            unmetered_calls BIGINT NOT NULL,
            input_tokens BIGINT NOT NULL,
            output_tokens BIGINT NOT NULL,
            cache_read_tokens BIGINT NOT NULL,
            cache_creation_tokens BIGINT NOT NULL,
            cache_creation_1h_tokens BIGINT NOT NULL,
            reasoning_tokens BIGINT NOT NULL,
            audio_input_tokens BIGINT NOT NULL,
            audio_output_tokens BIGINT NOT NULL,
            cost_nano_usd BIGINT NOT NULL,
            PRIMARY KEY (bucket, key_hash)
        )
        """,
        """
        CREATE TABLE agentmetrics_ledger_writers (
            writer TEXT NOT NULL PRIMARY KEY,
            batch BIGINT NOT NULL,
            written_at BIGINT NOT NULL
        )
        """,
    ),
    ("ALTER TABLE agentmetrics_ledger ADD COLUMN served_model TEXT NOT NULL DEFAULT ''",),
    (
        """
        CREATE TABLE agentmetrics_ledger_claims (
            claimed TEXT NOT NULL PRIMARY KEY,
            claimant TEXT NOT NULL,
            claimed_at BIGINT NOT NULL
        )
        """,
    ),
    (
        """
        CREATE TABLE agentmetrics_ledger_reservations (
            id TEXT NOT NULL PRIMARY KEY,
            agent_name TEXT NOT NULL,
            provider TEXT NOT NULL,
            model TEXT NOT NULL,
            dimensions TEXT NOT NULL,
            nano_usd BIGINT NOT NULL,
            reserved_until BIGINT NOT NULL
        )
        """,
    ),
)

MIGRATION_LOCK = 0x6167656E746D6574
"""The advisory lock of PostgreSQL under which one process migrates: 'agentmet' in ASCII."""


class SchemaVersionError(Exception):
    """The tables are not of the version that this code reads and writes."""


class NewerSchemaError(SchemaVersionError):
    """The tables are of a version from the future."""


def key_hash(key: Key) -> str:
    """The names of a row as 32 hexadecimal digits."""
    names = "\0".join(key[1:])  # no label and no JSON has a NUL
    return blake2b(names.encode(), digest_size=16).hexdigest()


def version_of(connection: Connection) -> int:
    """The version of the tables; 0 where there are none."""
    if not inspect(connection).has_table(VERSION.name):
        return 0
    return int(connection.execute(VERSION.select()).scalar() or 0)


def migrate(connection: Connection, migrations: Migrations = MIGRATIONS) -> None:
    """Bring the tables to the newest version, all in the transaction of the caller.

    Of several that start at once one migrates, and the others wait for it. Raises
    ``NewerSchemaError`` when the tables are of a version from the future.
    """
    if version_of(connection) == len(migrations):
        return
    if connection.dialect.name == "postgresql":  # a writing transaction of SQLite is alone anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    before = check_not_newer(connection, migrations)
    if not before:
        VERSION.create(connection, checkfirst=True)
        connection.execute(VERSION.insert().values(version=0))
    for statements in migrations[before:]:
        for statement in statements:
            connection.execute(text(statement))
    connection.execute(VERSION.update().values(version=len(migrations)))


def check_not_newer(connection: Connection, migrations: Migrations = MIGRATIONS) -> int:
    """The version of the tables; raises ``NewerSchemaError`` when it is from the future."""
    version = version_of(connection)
    if version > len(migrations):
        raise NewerSchemaError(
            f"its schema version is {version}, and this agentmetrics supports versions up to "
            f"{len(migrations)}: install a newer llm-agentmetrics"
        )
    return version


def check_newest(connection: Connection, migrations: Migrations = MIGRATIONS) -> None:
    """Raise ``SchemaVersionError`` unless the tables are of the newest version."""
    version = check_not_newer(connection, migrations)
    if version == 0:
        raise SchemaVersionError("no program has written to this ledger yet")
    if version < len(migrations):
        raise SchemaVersionError(
            f"its schema version is {version}, and this agentmetrics reads version "
            f"{len(migrations)}: first run a program that writes to it with this agentmetrics"
        )
