"""``agentmetrics top`` on a terminal: what it looks like, and what its keys do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from textual.pilot import Pilot

from agentmetrics import MemoryRecorder, Recorder, catalog, record_call, track_run
from agentmetrics.cli.top.feeds import Feeds
from agentmetrics.cli.top.glyphs import ASCII, UNICODE, Glyphs
from agentmetrics.cli.top.screen import Top
from agentmetrics.cli.top.sources import Source, source_of
from agentmetrics.live.samples import Snapshot, from_recorder
from agentmetrics.pipeline import pipeline_of
from tests.unit.programs_seen import opened, record, served

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_alone]

DEADLINE = 30.0
SCREENS = Path(__file__).with_name("screens")


class Told:
    """A source that says one snapshot after another, and then the last again."""

    name = "http://127.0.0.1:9464/metrics"

    def __init__(self, *snapshots: Snapshot) -> None:
        self._snapshots = list(snapshots)

    def read(self) -> Snapshot:
        return self._snapshots.pop(0) if len(self._snapshots) > 1 else self._snapshots[0]


def told() -> Told:
    """A planner that is fine, a writer that is stuck, and names that nobody would choose."""
    recorder = MemoryRecorder()
    snapshots = []
    for minute in range(3):
        for agent, count in (("planner", 3), ("日本語のエージェント", 2), ("[bold]x[/]", 1)):
            record(recorder, agent, count * minute)
            opened(recorder, agent, 1, 12.0)
        record(recorder, "planner", minute, "o4-mini")
        opened(recorder, "writer", 2, 1200.0)
        for name, spent, projected in (("team", 8.5, 13.0), ("brief", 1.0, 2.0)):
            recorder.gauge(catalog.BUDGET_LIMIT).labels(name, "daily").set(10)
            recorder.gauge(catalog.BUDGET_SPEND).labels(name, "daily").set(spent)
            recorder.gauge(catalog.BUDGET_PROJECTED_SPEND).labels(name, "daily").set(projected)
        snapshots.append(from_recorder(recorder, 1_700_000_000.0 + 30 * minute))
    return Told(*snapshots)


@contextmanager
def feeding_from(*sources: Source) -> Iterator[Feeds]:
    feeds = Feeds(sources, interval=0.05)
    try:
        yield feeds
    finally:
        feeds.close()


def drawn(top: Top) -> str:
    """The terminal as somebody sees it, without the time of day."""
    strips = top.screen._compositor.render_strips()
    found = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
    return "\n".join(found) + "\n"


async def until(pilot: Pilot, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline, drawn(pilot.app)  # type: ignore[arg-type]
        await pilot.pause(0.02)


def has_seen_all(top: Top) -> Callable[[], bool]:
    return lambda: top.seen is not None and top.seen.window_seconds == 60.0


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def as_before(name: str, pilot: Pilot, top: Top) -> None:
    """The screen becomes the one in the file; ``SCREENS=write`` writes it, to be looked at."""
    file = SCREENS / f"{name}.txt"
    if os.environ.get("SCREENS") == "write":
        file.write_text(drawn(top))
    await until(pilot, lambda: drawn(top) == file.read_text())


@pytest.mark.usefixtures("in_utc")
@pytest.mark.parametrize(
    ("size", "glyphs"), [((120, 40), UNICODE), ((80, 24), UNICODE), ((40, 20), ASCII)]
)
async def test_the_screen_looks_as_before(size: tuple[int, int], glyphs: Glyphs) -> None:
    name = f"{size[0]}x{size[1]}"
    with feeding_from(told()) as feeds:
        top = Top(feeds, glyphs)
        async with top.run_test(size=size) as pilot:
            await until(pilot, has_seen_all(top))
            await pilot.pause()
            await as_before(name, pilot, top)
            await pilot.press("down", "enter")
            await pilot.pause()
            await as_before(f"{name}-details", pilot, top)


async def test_keys_sort_filter_pause_and_choose_the_window() -> None:
    with feeding_from(told()) as feeds:
        top = Top(feeds, UNICODE)
        async with top.run_test(size=(120, 30)) as pilot:
            await until(pilot, has_seen_all(top))
            assert top.table.agent == "writer"  # which is marked
            await pilot.press("s")
            assert top.table.agent == "[bold]x[/]"
            assert "by agent" in drawn(top)
            await pilot.press("r")
            assert "reversed" in drawn(top)
            await pilot.press("r", "S", "slash", "P", "L", "enter")
            assert top.table.agent == "planner"
            assert "filter 'PL'" in drawn(top)
            await pilot.press("escape", "end")
            assert top.table.agent == "[bold]x[/]"
            await pilot.press("home", "w")
            assert top.window == 300.0
            await pilot.press("W", "p")
            assert drawn(top).startswith("PAUSED")
            await pilot.press("p", "question_mark")
            assert drawn(top).startswith("KEYS")
            await pilot.press("escape")
            assert drawn(top).startswith("agentmetrics top")
            await pilot.press("q")
        assert top.return_code == 0


async def test_a_resized_terminal_has_its_figures_in_as_few_lines_as_it_can_though_paused() -> None:
    with feeding_from(told()) as feeds:
        top = Top(feeds, UNICODE)

        def is_in_one_line() -> bool:
            return (
                re.search(r"^USD .* since start .* active ", drawn(top), re.MULTILINE) is not None
            )

        async with top.run_test(size=(40, 30)) as pilot:
            await until(pilot, has_seen_all(top))
            await pilot.press("p")
            assert not is_in_one_line()
            await pilot.resize_terminal(120, 30)
            await until(pilot, is_in_one_line)


async def test_what_is_away_is_said_and_comes_back() -> None:
    with served() as (recorder, server):
        record(recorder, "planner", 3)
        url, port = server.url, server.port
        with feeding_from(source_of(url)) as feeds:
            top = Top(feeds, UNICODE)
            async with top.run_test(size=(100, 24)) as pilot:
                await until(pilot, lambda: "planner" in drawn(top))
                server.close()
                await until(pilot, lambda: f"! {url} refuses connections" in drawn(top))
                assert "planner" in drawn(top)
                with served(port) as (anew, _):  # its counters begin at zero
                    record(anew, "writer", 1)
                    await until(pilot, lambda: "writer" in drawn(top))
                    assert "refuses" not in drawn(top)
                    assert top.seen is not None
                    assert (top.seen.flow.calls_per_minute or 0) > 0


WORKER = """
import sys
from prometheus_client import CollectorRegistry
from agentmetrics import PrometheusRecorder, record_call, track_run
recorder = PrometheusRecorder(registry=CollectorRegistry())
with track_run("planner", recorder=recorder):
    for line in sys.stdin:
        record_call("openai", "gpt-4o", recorder=recorder, input_tokens=1000, output_tokens=10)
"""


@contextmanager
def workers(directory: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes with a run each that is open, in which a line makes a call."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    command = [sys.executable, "-c", WORKER]
    found = [subprocess.Popen(command, stdin=subprocess.PIPE, env=env) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.kill()
            each.communicate()


def call(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    worker.stdin.write(b"call\n")
    worker.stdin.flush()


async def test_the_processes_of_a_directory_are_followed_until_they_end(tmp_path: Path) -> None:
    with workers(tmp_path, 2) as (one, other), feeding_from(source_of(str(tmp_path))) as feeds:
        top = Top(feeds, ASCII, window=10.0)
        async with top.run_test(size=(100, 24)) as pilot:

            def planner() -> list[str]:
                rows = [line.split() for line in drawn(top).splitlines() if "planner" in line]
                return rows[0][1:] if rows else []

            await until(pilot, lambda: f"{tmp_path} has no metrics yet" in drawn(top))
            await until(pilot, lambda: planner()[1:2] == ["2"])
            for worker in (one, other, other):
                call(worker)
            await until(pilot, lambda: "0.0078" in planner())
            one.kill()  # its calls stay, its run is over
            one.wait()
            await until(pilot, lambda: planner()[1:2] == ["1"])
            assert "0.0078" in planner()
            await pilot.press("enter")
            await until(pilot, lambda: "1 run active, the oldest" in drawn(top))
            assert re.search(r"gpt-4o \(openai\) +3 ", drawn(top))
            assert other.stdin is not None
            other.stdin.close()
            await until(pilot, lambda: "1 run finished, 2.0 calls each" in drawn(top))


async def test_many_that_are_away_leave_room_for_the_agents() -> None:
    away = [source_of(f"http://127.0.0.1:1/{number}") for number in range(9)]
    with feeding_from(told(), *away) as feeds:
        top = Top(feeds, UNICODE)
        async with top.run_test(size=(80, 24)) as pilot:
            await until(pilot, has_seen_all(top))
            await until(pilot, lambda: "! and 5 more that cannot be read" in drawn(top))
            assert "planner" in drawn(top)
            await pilot.resize_terminal(40, 20)
            await until(pilot, lambda: "agent " in drawn(top))
            assert "writer " in drawn(top).partition("agent ")[2]


def ran(recorder: Recorder, agent: str, *errors: type[Exception] | None) -> None:
    for error in errors:
        with suppress(ValueError), track_run(agent, recorder=recorder):
            record_call("openai", "gpt-4o-mini", recorder=recorder)
            if error is not None:
                raise error


async def test_the_last_runs_are_a_strip_in_the_details_and_a_column_where_there_is_room() -> None:
    with served() as (recorder, server), feeding_from(source_of(server.url)) as feeds:
        top = Top(feeds, UNICODE)
        ran(recorder, "planner", None)  # which makes the program one of agents, before the look
        async with top.run_test(size=(160, 40)) as pilot:
            await until(pilot, lambda: "planner" in drawn(top))
            await until(pilot, lambda: not _is_alone(recorder))
            ran(recorder, "planner", None, None, ValueError, None)
            await until(pilot, lambda: bool(feeds.runs))
            await until(pilot, lambda: "last runs" in drawn(top))
            (row,) = [line for line in drawn(top).splitlines() if "planner" in line]
            assert re.search(r" [▁-█]{2}x[▁-█]$", row)
            await pilot.press("enter")
            await until(pilot, lambda: "last 4 runs, 1 failed (x)" in drawn(top))
            assert re.search(r"^[▁-█]{4}\n  x\nodd ", drawn(top), re.MULTILINE)
            await pilot.resize_terminal(40, 20)
            await until(pilot, lambda: "failed" in drawn(top))


def _is_alone(recorder: Recorder) -> bool:
    pipeline = pipeline_of(recorder)
    return pipeline._record["agent"] == pipeline.agents.record


async def test_five_thousand_agents_are_scrolled_through() -> None:
    recorder = MemoryRecorder()
    for number in range(5000):
        recorder.gauge(catalog.AGENT_ACTIVE_RUNS).labels(f"agent-{number:04}").set(1)
    with feeding_from(Told(from_recorder(recorder, 0.0))) as feeds:
        top = Top(feeds, UNICODE, order="agent")
        async with top.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "agent-0000" in drawn(top))
            await pilot.press("end")
            assert "agent-4999" in drawn(top)
            await pilot.press("pageup", "up")
            assert "agent-4999" not in drawn(top)
