"""Summaries of real processes: at their end, of all workers, in a failing test, and in the docs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.pages import blocks, page

HEAD = "Calls by agent"

WORK = """\
import sys
from agentmetrics import configure, record_call, track_call, track_run

def work(agent="planner"):
    with track_run(agent):
        record_call("openai", "gpt-4o", duration_seconds=1, input_tokens=10, output_tokens=5)
"""


def run(
    code: str, directory: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A program of its own, in a file, as children that are spawned need it."""
    program = directory / "program.py"
    program.write_text(WORK + code)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AGENTMETRICS", "COLUMNS"))}
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**kept, **variables},
    )


def row(text: str, agent: str) -> list[str]:
    """The first row of an agent."""
    return next(line.split() for line in text.splitlines() if line.startswith(agent))


class TestAtTheEnd:
    def test_a_program_prints_once_however_many_children_it_has(self, tmp_path: Path) -> None:
        code = """\
if __name__ == "__main__":
    import multiprocessing, os
    work()
    if os.fork() == 0:
        work()
        sys.exit()
    os.wait()
    for way in ("fork", "spawn"):
        child = multiprocessing.get_context(way).Process(target=work)
        child.start()
        child.join()
    print("done")
"""
        done = run(code, tmp_path, AGENTMETRICS_SUMMARY="1")
        assert done.returncode == 0
        assert done.stdout == "done\n"
        assert done.stderr.count(HEAD) == 1
        assert row(done.stderr, "planner")[:3] == ["planner", "1", "1"]

    def test_a_program_that_fails_prints_after_its_traceback(self, tmp_path: Path) -> None:
        done = run("work()\nraise ValueError", tmp_path, AGENTMETRICS_SUMMARY="1")
        assert done.returncode == 1
        assert done.stderr.index("ValueError") < done.stderr.index(HEAD)

    @pytest.mark.skipif(sys.platform != "linux", reason="SIGTERM is heard of on Linux alone")
    def test_a_program_that_is_terminated_prints_and_dies_of_it(self, tmp_path: Path) -> None:
        code = """\
import os, signal, threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
with track_call("openai", "gpt-4o"):
    pass
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
        done = run(code, tmp_path, AGENTMETRICS_SUMMARY="1")
        assert done.returncode == -signal.SIGTERM
        assert done.stderr.count(HEAD) == 1

    def test_a_recorder_that_was_replaced_prints_nothing(self, tmp_path: Path) -> None:
        code = "work('former')\nconfigure(backend='memory')\nwork('second')\n"
        done = run(code, tmp_path, AGENTMETRICS_SUMMARY="1")
        assert "former" not in done.stderr
        assert row(done.stderr, "second")[:3] == ["second", "1", "1"]

    def test_nobody_who_has_not_asked_is_told_anything(self, tmp_path: Path) -> None:
        done = run("work()\n", tmp_path)
        assert (done.stdout, done.stderr) == ("", "")


def test_the_summary_of_a_multiprocess_directory_is_that_of_all_processes(tmp_path: Path) -> None:
    code = """\
if __name__ == "__main__":
    import multiprocessing
    from agentmetrics import get_recorder, print_summary
    configure(namespace="shop", common_labels="env=prod")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, ["planner", "writer"] * 3)
    work("planner")
    print_summary()
    print(get_recorder())
    print(len(get_recorder().to_pandas().query("metric == 'agent_runs_total' and value > 0")))
"""
    directory = tmp_path / "metrics"
    directory.mkdir()
    variables = {
        "AGENTMETRICS_BACKEND": "prometheus",
        "PROMETHEUS_MULTIPROC_DIR": str(directory),
    }
    done = run(code, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    assert row(done.stdout, "planner")[:3] == ["planner", "4", "4"]
    assert row(done.stdout, "writer")[:3] == ["writer", "3", "3"]
    assert row(done.stdout, "gpt-4o")[:3] == ["gpt-4o", "openai", "7"]
    assert "975 ms" in done.stdout  # which needs the buckets of all
    line, series = done.stdout.splitlines()[-2:]
    own = "1 agent, 1 call, 15 tokens, USD 0.000075"
    assert line == f"<Namespace of CommonLabels of PrometheusRecorder: {own}>"
    assert series == "2"


def test_a_failing_test_shows_what_was_recorded_and_a_passing_one_nothing(tmp_path: Path) -> None:
    code = """\
def test_passes(agent_metrics):
    work()
    assert agent_metrics.value("llm_calls_total", agent_name="planner") == 1

def test_fails(agent_metrics):
    work()
    assert agent_metrics.value("llm_calls_total", agent_name="planner") == 2

if __name__ == "__main__":
    import pytest
    plugins = ["-p", "agentmetrics.testing", "-p", "no:cacheprovider"]
    sys.exit(pytest.main(["-rA", *plugins, __file__]))
"""
    done = run(code, tmp_path, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "= <MemoryRecorder: 1 agent, 1 call, 15 tokens, USD 0.000075>" in done.stdout
    assert done.stdout.count(HEAD) == 1
    _, _, shown = done.stdout.partition("- agent_metrics -")
    assert row(shown, "planner")[:3] == ["planner", "1", "1"]
    labels = "agent_name='planner', provider='openai', model='gpt-4o', status='success'"
    assert f"llm_calls_total({labels}) 1\n" in shown
    assert "status='error'" not in shown


def test_the_page_shows_what_its_program_prints(tmp_path: Path) -> None:
    text = page("summary.md")
    program, data = blocks(text, "python")
    (printed,) = blocks(text, "text")
    (shown,) = blocks(text, "pycon")
    more = "print(agentmetrics.get_recorder())"
    done = run(f"{program}\nprint('=')\n{data}\n{more}\n", tmp_path)
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition("=\n")
    assert before == printed
    assert after.splitlines()[0].startswith("planner 1 0 0.006 ")
    assert after.splitlines()[-1] == shown.splitlines()[1]
