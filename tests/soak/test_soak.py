"""A short soak: the ledgers have what was acknowledged, to the call and to the nano-dollar."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

from tests.services.postgres import PostgresServer
from tests.soak.soak import Soak
from tests.soak.trouble import postgresql, sqlite

SECONDS = 12.0


def test_ledgers_have_what_was_acknowledged_whatever_ended_the_processes(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    seed = 13 if os.environ.get("CI") else Random().randrange(10_000)
    databases = [sqlite(tmp_path), postgresql(postgres_server)]
    report = Soak(tmp_path, databases, seed, print).run(SECONDS)
    assert report.is_right, json.dumps(report.as_dict(), indent=2)
    assert report.happened["SIGKILL"] > 0
    assert report.happened["SIGTERM"] > 0
    for ledger in report.ledgers.values():
        assert ledger.acknowledged.calls > 500
        assert ledger.processes > 8
