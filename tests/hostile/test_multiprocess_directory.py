"""A multiprocess directory on a disk that is full, or that somebody tidies up: real disks.

The program goes on, and so do its own metrics. What a scrape lacks meanwhile is counted, and there
again once there is room.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.services.disk import Disk

ROOT = Path(__file__).parents[2]
SMALL_KIB = 256
AGENTS = 60
"""So many that their series do not fit on that disk."""

PROGRAM = f"""
import os, shutil, subprocess, sys
from pathlib import Path
import prometheus_client
if "--early" in sys.argv:  # its own file is there before ours
    own = prometheus_client.Counter("orders", "The program's own.", ("shop",))
    own.labels("first").inc()
from agentmetrics import configure, track_call

directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
recorder = configure(backend="prometheus")
if "--early" not in sys.argv:
    own = prometheus_client.Counter("orders", "The program's own.", ("shop",))

def calls(agents={AGENTS}):
    for number in range(agents):
        with track_call("openai", "gpt-4o-mini", agent_name=f"agent-{{number}}") as call:
            call.record_usage(10, 5)

def scraped(name):
    recorder.flush()
    families = recorder.scraped.collect()
    return sum(s.value for f in families for s in f.samples if s.name == name)

def show(*names):
    print(*(int(scraped(name)) for name in names))
"""

CALLS, OWN = "llm_calls_total", "orders_total"
LATENCIES = "llm_latency_seconds_count"
UNWRITTEN = "agentmetrics_multiprocess_series_unwritten_total"
REMADE = "agentmetrics_multiprocess_files_remade_total"


def run(directory: Path, program: str, *arguments: str) -> tuple[list[list[int]], str]:
    """The numbers that a program shows, a list for each line, and what it logged."""
    done = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}\n{program}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(directory)},
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return [list(map(int, line.split())) for line in done.stdout.splitlines()], done.stderr


def test_a_full_disk_ends_no_program_and_what_it_has_no_room_for_comes_when_it_has(
    disk: Callable[[int], Disk],
) -> None:
    small = disk(SMALL_KIB)
    shown, log = run(
        small.path,
        f"""
calls()
for shop in range(2000):
    own.labels(f"shop-{{shop}}").inc()
calls()
show("{CALLS}", "{OWN}", "{UNWRITTEN}")
print(int(recorder.value("{CALLS}")))
subprocess.run(["mount", "-o", "remount,size=64m", str(directory)], check=True)
show("{CALLS}", "{OWN}", "{LATENCIES}")
calls()
show("{CALLS}", "{OWN}", "{LATENCIES}")
""",
    )
    (calls, own, unwritten), (kept,), *later = shown
    assert calls < 2 * AGENTS
    assert own < 2000
    assert unwritten > AGENTS
    assert kept == 2 * AGENTS
    assert later == [[2 * AGENTS, 2000, 2 * AGENTS], [3 * AGENTS, 2000, 3 * AGENTS]]
    assert log.count("no room") == 1


def test_a_disk_without_any_room_ends_no_program_and_no_child_of_it(
    disk: Callable[[int], Disk],
) -> None:
    small = disk(SMALL_KIB)
    small.fill()
    shown, _ = run(
        small.path,
        f"""
calls()
own.labels("mine").inc()
child = os.fork()
if not child:
    calls()
    own.labels("mine").inc()
    os._exit(0 if recorder.value("{CALLS}") else 1)
print(os.waitpid(child, 0)[1])
os.unlink(directory / "ballast")
show("{CALLS}", "{OWN}")
""",
    )
    assert shown == [[0], [AGENTS, 1]]


def test_a_child_of_a_fork_on_a_disk_that_is_full_by_then_lives_and_counts(
    disk: Callable[[int], Disk],
) -> None:
    shown, _ = run(
        disk(4096).path,
        f"""
def in_child():
    child = os.fork()
    if not child:
        calls(3)
        own.labels("mine").inc()
        recorder.flush()
        os._exit(0)
    print(os.waitpid(child, 0)[1])

calls(3)
own.labels("mine").inc()
with (directory / "ballast").open("wb", buffering=0) as ballast:
    try:
        while ballast.write(bytes(4096)):
            pass
    except OSError:
        pass
in_child()
show("{CALLS}", "{OWN}")
(directory / "ballast").unlink()
in_child()
show("{CALLS}", "{OWN}")
""",
    )
    assert shown == [[0], [3, 1], [0], [6, 2]]


def test_files_that_are_cut_short_under_a_program_are_made_anew_with_all_that_it_counted(
    tmp_path: Path,
) -> None:
    shown, log = run(
        tmp_path,
        f"""
calls()
own.labels("mine").inc(7)
files = list(directory.glob("*.db"))
recorder._collector.store._periodic.stop()  # or it might be between the two
for file in files:
    os.truncate(file, 0)
show("{CALLS}", "{OWN}", "{LATENCIES}", "{REMADE}")
print(len(files))
calls()
own.labels("mine").inc(7)
show("{CALLS}", "{OWN}", "{LATENCIES}", "{REMADE}")
""",
        "--early",
    )
    first, (files,), then = shown
    assert first == [AGENTS, 8, AGENTS, files]
    assert then == [2 * AGENTS, 15, 2 * AGENTS, files]
    assert log.count("made them anew") == 1


def test_a_directory_that_is_deleted_under_a_program_is_made_anew_with_all_that_it_counted(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir()
    shown, log = run(
        directory,
        f"""
calls()
own.labels("mine").inc(7)
shutil.rmtree(directory)
calls()
own.labels("mine").inc(7)
show("{CALLS}", "{OWN}", "{LATENCIES}")
calls()
show("{CALLS}", "{OWN}", "{LATENCIES}")
print(int(scraped("{REMADE}") > 0))
""",
    )
    assert shown == [[2 * AGENTS, 14, 2 * AGENTS], [3 * AGENTS, 14, 3 * AGENTS], [1]]
    assert log.count("made them anew") == 1
