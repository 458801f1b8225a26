"""The registry of what is flushed when a process ends, driven by hand."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import pytest

from agentmetrics import MemoryRecorder, track_call
from agentmetrics.config.assembly import make_push_at_exit
from agentmetrics.config.loading import load_settings
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording import exits
from agentmetrics.recording.ends.work import run_all


class Flushed:
    def __init__(self, name: str, log: list[str], works=lambda: None) -> None:
        self.name, self.log, self.works = name, log, works

    def flush(self) -> None:
        self.works()
        self.log.append(f"flush {self.name}")

    def close(self) -> None:
        self.log.append(f"close {self.name}")


class Closed:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def close(self) -> None:
        self.log.append(f"close {self.name}")


@pytest.fixture(autouse=True)
def nothing_else_is_open(monkeypatch) -> None:
    monkeypatch.setattr(exits, "_open", {})
    monkeypatch.setattr(exits, "_is_on", True)


def test_a_hook_flushes_the_youngest_first_and_closes_what_cannot_be_flushed() -> None:
    log: list[str] = []
    kept: list[exits.Closable] = [Flushed("old", log), Closed("middle", log), Flushed("young", log)]
    for one in kept:
        exits.close_at_exit(one)
    exits.flush_all()
    assert log == ["flush young", "close middle", "flush old"]
    log.clear()
    exits.close_all()  # the process went on, and exits by itself now
    assert log == ["close young", "close middle", "close old"]


def test_one_that_fails_or_hangs_holds_up_no_other(monkeypatch, caplog) -> None:
    monkeypatch.setattr(exits, "FLUSH_SECONDS", 0.3)
    monkeypatch.setattr(exits, "PATIENCE_SECONDS", 0.05)
    log: list[str] = []
    hanging = threading.Event()

    def fail() -> None:
        raise OSError("a text that nobody may see")

    kept = [
        Flushed("old", log),
        Flushed("failing", log, fail),
        Flushed("hanging", log, lambda: hanging.wait(60)),
    ]
    for one in kept:
        exits.close_at_exit(one)
    exits.flush_all()
    assert log == ["flush old"]
    hanging.set()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "Flushed failed at exit: OSError",
        "the process ends before everything was flushed",
    ]


def test_jobs_run_in_this_thread_where_none_can_be_started(monkeypatch) -> None:
    def no_more(*_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", no_more)
    ran: list[int] = []
    assert run_all([lambda: ran.append(threading.get_ident())], 10, 10)
    assert ran == [threading.get_ident()]


def test_what_takes_longer_than_the_deadline_is_said_not_to_have_ended() -> None:
    hanging = threading.Event()
    began = time.monotonic()

    def hang() -> None:
        hanging.wait(60)

    assert not run_all([hang], 0.05, 0.01)
    assert time.monotonic() - began < 30
    hanging.set()


def test_what_is_open_ends_as_cancelled_and_only_once() -> None:
    recorder = MemoryRecorder()
    with track_call("openai", "gpt-4o-mini", recorder=recorder):
        assert recorder.value("llm_active_calls") == 1
        exits.flush_all()
        assert recorder.value("llm_active_calls") == 0
    assert recorder.value("llm_calls_total", status="cancelled") == 1
    assert recorder.value("llm_calls_total") == 1


def test_what_a_thread_records_during_the_flush_at_a_childs_end_is_in_a_second_one() -> None:
    program = """
        import threading

        from agentmetrics.recording.ends import children

        may_end = threading.Event()
        thread = threading.Thread(target=may_end.wait, args=[30])
        thread.start()

        def flush():
            print(thread.is_alive())
            may_end.set()
            thread.join()  # so it is gone when the first flush is over

        children._flush_after_threads(flush)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "False"]


def test_a_push_at_exit_and_no_end_that_is_heard_of_are_a_contradiction() -> None:
    settings = load_settings(
        backend="prometheus",
        pushgateway_url="http://gateway:9091",
        pushgateway_job="nightly",
        flush_at_exit=False,
    )
    with pytest.raises(ConfigurationError, match=r"AGENTMETRICS_FLUSH_AT_EXIT=False: .* leave out"):
        make_push_at_exit(settings, MemoryRecorder())


def test_nothing_is_open_once_the_ends_are_left_alone() -> None:
    program = """
        import gc, os, threading
        from agentmetrics import MemoryRecorder, configure, track_call
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        files = len(os.listdir("/proc/self/fd"))
        configure(MemoryRecorder())
        with track_call("openai", "gpt-4o-mini") as call:
            call.record_usage(1, 1)
        hooked = len(os.listdir("/proc/self/fd")) - files
        child = os.fork()
        if not child:
            gc.collect()
            os._exit(0)
        os.waitpid(child, 0)
        configure(MemoryRecorder(), flush_at_exit=False)
        gc.collect()
        while len(os.listdir("/proc/self/fd")) > files:
            pass
        print(hooked)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("2\n", "")
