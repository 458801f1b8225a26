"""Names without end while the database is away: memory is bounded, and no call is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.services.driven import in_ledger
from tests.services.postgres import PostgresServer

NAMES = times(short=24_000, whole=1_000_000)
SMALLER = times(short=32, whole=1)
"""What is bounded is bounded so much earlier, or a short run would not get there."""
ALLOWED_MB = times(short=2, whole=30)
"""What may come when all bounds are reached: it was 230 bytes a name, which would be more."""

PROGRAM = """
    import json, sys
    from pathlib import Path
    from agentmetrics import configure, get_ledger, record_call
    from agentmetrics.budget.ledger import spool, tally
    url, directory, names, smaller = *sys.argv[1:3], *map(int, sys.argv[3:])
    tally.MAX_ROWS //= smaller
    spool.MOST_BYTES //= smaller
    spool.MOST_IN_MEMORY //= smaller
    recorder = configure(
        backend="memory", max_series=50, ledger_url=url, spool_dir=Path(directory),
        ledger_flush_interval=0.5,
    )
    def own_mb():
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) / 1024
    def add(number):
        agent = f"driven-{number}"
        if number % 100:  # which takes the same way as a call, and no metric
            get_ledger().record_external(
                0.00075, provider="openai", model="gpt-4o-mini", agent_name=agent)
        else:
            record_call("openai", "gpt-4o-mini", agent_name=agent, input_tokens=1000,
                        output_tokens=1000)
    add(0)
    began, reached = own_mb(), 0
    for number in range(1, names):
        if number == names // 2:
            reached = own_mb()
        if number % 1000 == 0:
            get_ledger().pending_rows()  # as a scrape does, however long the ledger's thread waits
        add(number)
    pending = get_ledger().pending_rows()
    print(json.dumps({
        "reached": reached - began,
        "then": own_mb() - reached,
        "rows": pending,
        "disk": sum(file.stat().st_size for file in Path(directory).rglob("*.spool")) / 2**20,
    }), flush=True)
    sys.stdin.readline()
    get_ledger().flush()
    print(int(recorder.value("agentmetrics_ledger_calls_lost_total")))
"""


def test_new_names_without_end_take_no_more_memory_and_no_call_is_lost(
    postgres_server: PostgresServer, tmp_path: Path, proves: Proves
) -> None:
    url = postgres_server.new_database()
    with subprocess.Popen(
        [
            *(sys.executable, "-c", textwrap.dedent(PROGRAM)),
            *(url, str(tmp_path), str(NAMES), str(SMALLER)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        with postgres_server.stopped():
            told: dict[str, Any] = json.loads(program.stdout.readline())
        assert told["then"] < ALLOWED_MB, told
        assert told["disk"] <= 64 / SMALLER, told
        program.stdin.write("it is back\n")
        program.stdin.flush()
        assert program.stdout.readline() == "0\n"
    assert program.returncode == 0
    assert in_ledger(url, tmp_path) == NAMES
    proves(
        f"{NAMES:,} calls, each of another agent, with the database away",
        f"{told['reached']:.0f} MB for the first half of them, {told['then']:.1f} MB for the "
        f"other; {told['disk']:.0f} MB on disk, {told['rows']:,} rows; {NAMES:,} of {NAMES:,} "
        "calls in the ledger once it was back",
    )
