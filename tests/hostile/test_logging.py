"""The program's logging raises, calls us again, or waits for a thread that does."""

from __future__ import annotations

import ast
import logging
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

PATIENCE_SECONDS = 60.0


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


def test_a_handler_that_records_a_call_is_not_called_for_it_again(logger: logging.Logger) -> None:
    recorder = MemoryRecorder()
    handler = Handler(lambda: call(recorder, "of-the-handler"))
    logger.addHandler(handler)
    call(recorder)
    heard = len(handler.heard)
    assert recorder.value("llm_calls_total", model="of-the-handler") == heard > 0


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
    logger: logging.Logger, tmp_path: Path
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


def test_what_is_logged_under_a_lock_is_said_when_it_is_free(logger: logging.Logger) -> None:
    lock = fork.held_lock()
    heard = threading.Event()
    states: list[bool] = []

    def look() -> None:
        states.append(fork.holds_lock())
        heard.set()

    logger.addHandler(Handler(look))
    with lock:
        said.QuietLogger("agentmetrics").warning("said by a thread")
        assert heard.wait(PATIENCE_SECONDS)
    with said.later(), lock:
        said.QuietLogger("agentmetrics").warning("said afterwards")
        assert len(states) == 1
    assert states == [False, False]


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
