"""The program's logging raises, calls us again, or waits for a thread that does."""

from __future__ import annotations

import ast
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import agentmetrics
from agentmetrics import (
    Budget,
    Budgets,
    Ledger,
    MemoryRecorder,
    configure,
    get_recorder,
    track_call,
)
from agentmetrics.config.active import replaced
from agentmetrics.errors import LedgerUnavailable
from agentmetrics.recording import fork, said
from tests.hostile import times
from tests.hostile.conftest import Proves

PATIENCE_SECONDS = 60.0
TIMES = times(short=100, whole=10_000)


class Handler(logging.Handler):
    """What a program may have in its logging."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(logging.DEBUG)
        self._act = act
        self.heard: list[str] = []

    def handle(self, record: logging.LogRecord) -> bool:
        self.heard.append(record.getMessage())
        self._act()
        return True


class Filter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise ValueError


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("agentmetrics")
    before = logger.level, list(logger.handlers), list(logger.filters)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(before[0])
    logger.handlers[:], logger.filters[:] = before[1], before[2]


def call(recorder: MemoryRecorder | None = None, model: str = "no-such-model") -> None:
    with track_call("nobody", model, recorder=recorder) as tracked:
        tracked.record_usage(10, 5)


def _fail() -> None:
    raise ValueError


@pytest.mark.parametrize("raising", [Handler(_fail), Filter()], ids=["handler", "filter"])
@pytest.mark.parametrize("name", ["agentmetrics", "agentmetrics.calls"])
def test_what_logging_raises_reaches_nobody(
    raising: Any, name: str, logger: logging.Logger
) -> None:
    recorder = MemoryRecorder()
    own = logging.getLogger(name)
    add, remove = (
        (own.addHandler, own.removeHandler)
        if isinstance(raising, logging.Handler)
        else (own.addFilter, own.removeFilter)
    )
    add(raising)
    try:
        for _ in range(3):
            call(recorder)
        with track_call("openai", "gpt-4o", recorder=recorder) as tracked:
            tracked.record_usage(-1, "many")  # type: ignore[arg-type]
    finally:
        remove(raising)
    assert recorder.value("llm_calls_total") == 4
    assert recorder.value("llm_active_calls") == 0


def test_a_handler_that_records_a_call_is_not_called_for_it_again(
    logger: logging.Logger, proves: Proves
) -> None:
    recorder = MemoryRecorder()
    handler = Handler(lambda: call(recorder, "of-the-handler"))
    logger.addHandler(handler)
    call(recorder)
    heard = len(handler.heard)
    assert recorder.value("llm_calls_total", model="of-the-handler") == heard > 0
    proves(f"{heard} messages, with a call for each", f"{heard} calls counted, 0 more messages")


def holds_no_lock() -> None:
    assert not fork.holds_lock()


def in_another_thread(act: Callable[[], object]) -> Callable[[], object]:
    def wait() -> None:
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()

    return wait


def test_no_lock_of_ours_is_held_while_a_handler_runs(
    logger: logging.Logger, tmp_path: Path, proves: Proves
) -> None:
    failed: list[BaseException] = []
    looking = threading.Lock()

    def look() -> None:
        if not looking.acquire(blocking=False):  # what its own thread logs
            return
        try:
            holds_no_lock()
            in_another_thread(everything)()
        except BaseException as error:
            failed.append(error)
        finally:
            looking.release()

    def everything() -> None:
        call()
        get_recorder()
        recorder.samples()
        budgets.status()
        with suppress(LedgerUnavailable):
            ledger.flush()

    handler = Handler(look)
    recorder = MemoryRecorder()
    there, away = tmp_path / "there", tmp_path / "away"
    there.mkdir()
    ledger = Ledger(f"sqlite:///{there}/x.db", spool_dir=tmp_path, flush_interval_seconds=1000)
    ledger.attach(recorder)
    budget = Budget("small", 0.000_001)
    budgets = Budgets([budget], recorder, ledger=ledger)
    with replaced(recorder):
        logger.addHandler(handler)
        call(model="first")  # unpriced
        with track_call("openai", "gpt-4o") as tracked:  # passes the budget
            tracked.record_usage(1000, 1000)
        there.rename(away)
        with pytest.raises(LedgerUnavailable):
            ledger.flush()
        configure(recorder)
        away.rename(there)
        ledger.flush()
        logger.removeHandler(handler)
        budgets.close()
        ledger.close()
    assert failed == []
    text = "\n".join(handler.heard)
    for said_of in ("no price", "budget 'small' passed", "cannot be written to", "is back"):
        assert said_of in text
    proves(
        f"{len(handler.heard)} messages whose handler waits for a thread that calls, flushes and "
        "reads, of a call, a budget, a ledger that goes and comes, and configure()",
        "0 hung, 0 raised, 0 locks held",
    )


class Hanging:
    """Logging that waits for something, as a handler or as a filter does."""

    def __init__(self) -> None:
        self.may_go_on, self.hangs = threading.Event(), threading.Event()

    def __enter__(self) -> Hanging:
        return self

    def __exit__(self, *_: object) -> None:
        self.may_go_on.set()

    def wait(self) -> None:
        self.hangs.set()
        self.may_go_on.wait()


class HangingFilter(logging.Filter):
    def __init__(self, wait: Callable[[], None]) -> None:
        super().__init__()
        self._wait = wait

    def filter(self, record: logging.LogRecord) -> bool:
        self._wait()
        return True


def add_handler(logger: logging.Logger, wait: Callable[[], None]) -> None:
    logger.addHandler(Handler(wait))


def add_filter(logger: logging.Logger, wait: Callable[[], None]) -> None:
    for name in ("agentmetrics", "agentmetrics.calls"):
        logging.getLogger(name).addFilter(HangingFilter(wait))


@pytest.mark.parametrize("add", [add_handler, add_filter], ids=["handler", "filter"])
def test_logging_that_hangs_holds_up_the_thread_that_logs_and_no_other(
    add: Callable[[logging.Logger, Callable[[], None]], None],
    logger: logging.Logger,
    tmp_path: Path,
    proves: Proves,
) -> None:
    recorder = MemoryRecorder()
    ledger = Ledger(f"sqlite:///{tmp_path}/x.db", flush_interval_seconds=1000)
    ledger.attach(recorder)
    call(recorder, "warm")
    logger.setLevel(logging.WARNING)  # or every call says something
    with Hanging() as hanging:
        add(logger, hanging.wait)
        held_up = threading.Thread(target=call, args=(recorder, "first"), daemon=True)
        held_up.start()
        assert hanging.hangs.wait(PATIENCE_SECONDS)

        def everything() -> None:
            for _ in range(TIMES):
                call(recorder, "warm")  # of which everything was said
            ledger.flush()
            recorder.samples()
            child = os.fork()
            if not child:
                call(recorder, "warm")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        in_another_thread(everything)()
        lock = fork.held_lock()
        threads = threading.active_count()
        for _ in range(TIMES):
            with lock:  # said by a thread, which hangs as well: by one
                said.QuietLogger("agentmetrics").warning("said by a thread")
        assert len(said._waiting) >= min(TIMES - 1, said.MAX_WAITING)
        assert threading.active_count() <= threads + 1
        assert held_up.is_alive()
    held_up.join(PATIENCE_SECONDS)
    calls = recorder.value("llm_calls_total")
    assert calls == TIMES + 2
    ledger.close()
    proves(
        f"1 thread that hangs in it, and another with {TIMES:,} calls, a flush, a reading, a fork",
        f"0 others hung, {calls:,.0f} of {TIMES + 2:,} calls counted, 1 thread of ours more",
    )


def test_what_is_logged_under_a_lock_is_said_when_it_is_free(logger: logging.Logger) -> None:
    lock = fork.held_lock()
    heard = threading.Event()
    states: dict[str, list[bool]] = {"under a lock": [], "in a block": []}  # others log, too

    class Looking(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            if record.getMessage() in states:
                states[record.getMessage()].append(fork.holds_lock())
                heard.set()
            return True

    logger.addHandler(Looking())
    with lock:
        said.QuietLogger("agentmetrics").warning("under a lock")
        assert heard.wait(PATIENCE_SECONDS)
    with said.later(), lock:
        said.QuietLogger("agentmetrics").warning("in a block")
        assert not states["in a block"]
    assert states == {"under a lock": [False], "in a block": [False]}


def test_nothing_is_logged_past_it() -> None:
    """Every logger of ours, and of the plugins', is the quiet one."""
    package = Path(agentmetrics.__file__).parent
    plugins = package.parent / "plugins"
    found = set()
    for path in (*package.rglob("*.py"), *plugins.glob("*/agentmetrics_*/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = node.func
                on = called.value
                of_logging = isinstance(on, ast.Name) and on.id == "logging"
                if of_logging and called.attr in {
                    *("getLogger", "debug", "info", "warning", "error", "exception", "critical"),
                    "log",
                }:
                    found.add(path.relative_to(package.parent).as_posix())
    assert found == {
        "agentmetrics/recording/said.py",
        "agentmetrics/cli/demo/environment.py",  # sets levels, in a program of its own
        "plugins/agentmetrics-otel/agentmetrics_otel/outlets.py",  # filters OpenTelemetry's own
    }
