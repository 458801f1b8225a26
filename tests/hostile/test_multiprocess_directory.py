"""A disk that is full, read-only, emptied or cut short, under ``PROMETHEUS_MULTIPROC_DIR``.

The program goes on, and so do its own metrics. What a scrape lacks meanwhile is counted, and there
again once there is room.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.hostile import times
from tests.hostile.conftest import Proves
from tests.services.disk import Disk

ROOT = Path(__file__).parents[2]
SMALL_KIB = 256
AGENTS = 60
"""So many that their series do not fit on that disk."""
SHOPS = times(short=2000, whole=10_000)

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
    disk: Callable[[int], Disk], proves: Proves
) -> None:
    small = disk(SMALL_KIB)
    shown, log = run(
        small.path,
        f"""
calls()
for shop in range({SHOPS}):
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
    assert own < SHOPS
    assert unwritten > AGENTS
    assert kept == 2 * AGENTS
    assert later == [[2 * AGENTS, SHOPS, 2 * AGENTS], [3 * AGENTS, SHOPS, 3 * AGENTS]]
    assert log.count("no room") == 1
    proves(
        f"{3 * AGENTS} calls of {AGENTS} agents, and {SHOPS:,} series of the program's own, "
        f"on a disk of {SMALL_KIB} kB",
        f"0 signals, 0 raised; {unwritten} series counted as unwritten, and all there once there "
        f"was room: {3 * AGENTS} of {3 * AGENTS} calls, {SHOPS:,} of {SHOPS:,} series",
    )


def test_a_disk_without_any_room_ends_no_program_and_no_child_of_it(
    disk: Callable[[int], Disk], proves: Proves
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
    proves(
        f"{2 * AGENTS} calls, half of them in a child of a fork",
        f"0 signals, 0 raised; {AGENTS} of {AGENTS} calls of the parent once there was room",
    )


def test_a_child_of_a_fork_on_a_disk_that_is_full_by_then_lives_and_counts(
    disk: Callable[[int], Disk], proves: Proves
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
    proves("2 forks, on a full disk and on one with room", "0 signals; 6 of 6 calls with room")


def test_files_that_are_cut_short_under_a_program_are_made_anew_with_all_that_it_counted(
    tmp_path: Path, proves: Proves
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
    proves(
        f"{files} files truncated between {2 * AGENTS} calls",
        f"0 lost, {2 * AGENTS} of {2 * AGENTS} calls in the next scrape; {files} counted as remade",
    )


def test_a_directory_that_is_deleted_under_a_program_is_made_anew_with_all_that_it_counted(
    tmp_path: Path, proves: Proves
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
    proves(
        f"1 directory deleted between {3 * AGENTS} calls",
        f"0 lost, {3 * AGENTS} of {3 * AGENTS} calls in the next scrape",
    )


def test_a_directory_that_turns_read_only_keeps_nobody_from_working(
    disk: Callable[[int], Disk], proves: Proves
) -> None:
    shown, log = run(
        disk(8192).path,
        f"""
def mount(*how):
    subprocess.run(["mount", *how, str(directory)], check=True)

calls()
mount("--bind", str(directory))
mount("-o", "remount,bind,ro")
try:
    depth = prometheus_client.Gauge("depth", "In a file of its own.", multiprocess_mode="min")
    depth.set(7)
    calls()
    show("{CALLS}", "depth")
    child = os.fork()
    if not child:
        calls()
        own.labels("mine").inc()
        recorder.flush()
        os._exit(0 if recorder.value("{CALLS}") else 1)
    print(os.waitpid(child, 0)[1])
    new = "from agentmetrics import configure; configure(backend='prometheus')"
    failed = subprocess.run([sys.executable, "-c", new], capture_output=True, text=True)
    print(int("that this process can write to" in failed.stderr))
finally:
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
show("{CALLS}", "depth")
""",
    )
    assert shown == [[2 * AGENTS, 0], [0], [1], [2 * AGENTS, 7]]
    assert log.count("no room") == 1
    proves(
        f"{3 * AGENTS} calls, a new kind of file, a fork, and another program that starts",
        f"0 signals, 0 raised after the start, which says why it cannot; {2 * AGENTS} of "
        f"{2 * AGENTS} calls of the parent, and the new file once it could be made",
    )
