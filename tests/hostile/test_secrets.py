"""A private text, planted wherever one can be, is in nothing that is logged, shown or kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.conftest import Proves
from tests.hostile.test_labels import listening

PROGRAM = "tests.hostile.programs.secretive"
ROOT = Path(__file__).parents[2]
CANARY = "Zq7Kx9planted"
LEDGERS = {
    "a ledger that is there": "sqlite:///{directory}/spend.db",
    "a ledger that is away": "postgresql://joe:" + CANARY + "@127.0.0.1:1/spend",
}
BUDGETS = """\
[budgets.all]
limit_usd = 0.000001
period = "daily"
notify = ["webhook:HOOK", "slack:HOOK"]
"""


@pytest.mark.parametrize("ledger", LEDGERS)
def test_it_is_found_nowhere(ledger: str, tmp_path: Path, proves: Proves) -> None:
    files = tmp_path / "prometheus"
    files.mkdir()
    (tmp_path / "budgets.toml").write_text(BUDGETS)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AGENTMETRICS_", "STATSD_"))
    }
    with listening() as (port, lines):
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM, str(tmp_path), CANARY],
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
                "AGENTMETRICS_BACKEND": "prometheus,statsd",
                "AGENTMETRICS_BUDGETS_FILE": str(tmp_path / "budgets.toml"),
                "AGENTMETRICS_EXTRA_LABELS": "tenant",
                "AGENTMETRICS_LEDGER_URL": LEDGERS[ledger].format(directory=tmp_path),
                "AGENTMETRICS_PUSHGATEWAY_JOB": "job",
                "AGENTMETRICS_PUSHGATEWAY_URL": f"http://joe:{CANARY}@127.0.0.1:1/",
                "AGENTMETRICS_STATSD_PORT": str(port),
                "HOOK": f"http://127.0.0.1:1/{CANARY}",
                "HOME": str(tmp_path),
                "PROMETHEUS_MULTIPROC_DIR": str(files),
                "XDG_STATE_HOME": str(tmp_path / "state"),
            },
            cwd=tmp_path,
            capture_output=True,
            timeout=170,
        )
    printed = (done.stdout + done.stderr).decode(errors="replace")
    assert not done.returncode, printed[-3000:]
    assert "DEBUG:agentmetrics" in printed
    found = [line for line in printed.splitlines() if CANARY in line]
    assert found == []
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert [path for path, inside in kept.items() if CANARY.encode() in inside] == []
    assert [path for path in tmp_path.rglob("*") if CANARY in path.name] == []
    sent = b"\n".join(lines)
    assert b"llm_calls_total" in sent
    assert CANARY.encode() not in sent
    size = len(printed) + sum(map(len, kept.values())) + len(sent)
    proves(
        "prompts, replies, arguments, errors, headers, keys, metadata and URLs of a program "
        "that logs at DEBUG",
        f"0 found in {size / 1024:,.0f} KiB of logs, errors, reprs, exposition, StatsD, commands "
        f"and {len(kept)} files",
    )
