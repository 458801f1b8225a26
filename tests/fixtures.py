"""Fixtures that every test can take."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from agentmetrics import MemoryRecorder
from agentmetrics.pipeline import pipeline_of
from agentmetrics.recording.exits import flush_at_exits

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

    from agentmetrics import MetricsCallbackHandler
    from agentmetrics.calls.facts import LLMCall

pytest_plugins = [
    "tests.services.disk",
    "tests.services.driven",
    "tests.services.otlp",
    "tests.services.postgres",
    "tests.services.prometheus",
    "tests.services.pushgateway",
    "tests.services.rabbitmq",
    "tests.services.receiver",
    "tests.services.redis",
    "tests.services.replay",
    "tests.services.statsd",
    "tests.services.webserver",
    "tests.services.wire",
    "tests.services.embeddings_wire",  # after the one it imports
]


# No deadlines, since a machine that runs two tests at a time is now and then slow, and fewer
# examples than a developer has. The rest is what Hypothesis has for CI: what fails there fails
# again, and it prints how to repeat it.
settings.register_profile(
    "ci",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """Let coverage measure the processes that run tests, and not the programs that these start.

    Those fork while threads run. A child that was forked while a thread held coverage's own lock
    waits for it for ever.
    """
    runs_tests = hasattr(config, "workerinput") or not config.getoption("numprocesses", None)
    if runs_tests:
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
    config.addinivalue_line(
        "markers", "asyncio_alone: coroutines that trio cannot run, as LangChain's on asyncio"
    )


def pytest_sessionfinish() -> None:
    """End at once. Tests leave ledgers behind whose database is gone, each of which waits for it;
    pytest-xdist kills a worker that takes ten seconds to end, and its coverage is lost.
    """
    flush_at_exits(False)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Take what tests import out of the garbage collector's sight: a collection is then quick.

    It is two million objects where all tests are run, and many a test calls ``gc.collect``.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A coroutine runs on both event loops, unless it is marked as one for asyncio alone."""
    alone = metafunc.definition.get_closest_marker("asyncio_alone")
    if "anyio_backend" in metafunc.fixturenames and not alone:
        metafunc.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of a coroutine."""
    return str(getattr(request, "param", "asyncio"))


@pytest.fixture
def recorder() -> MemoryRecorder:
    """One that has nothing recorded yet, and is not the configured one."""
    return MemoryRecorder()


@pytest.fixture
def handler(recorder: MemoryRecorder) -> MetricsCallbackHandler:
    """What a user passes to LangChain; it records in the recorder of the test."""
    from agentmetrics import MetricsCallbackHandler

    return MetricsCallbackHandler(recorder)


@pytest.fixture
def config(handler: MetricsCallbackHandler) -> RunnableConfig:
    """What ``invoke`` takes: the handler and nothing else."""
    return {"callbacks": [handler]}


@pytest.fixture
def ended(recorder: MemoryRecorder) -> list[LLMCall]:
    """The calls that have ended, as subscribers hear of them."""
    heard: list[LLMCall] = []
    pipeline_of(recorder).subscribe(heard.append)
    return heard


@pytest.fixture(scope="module")
def only_our_objects() -> None:
    """What earlier tests have left alive is not among ``gc.get_objects()``, nor gone through."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def hooks() -> Iterator[None]:
    """LangChain's hooks, put back afterwards: it has no way to remove one."""
    from langchain_core.tracers import context

    from agentmetrics.sources.langchain import attach

    before = list(context._configure_hooks)
    yield
    context._configure_hooks[:] = before
    attach._everywhere = None
