"""Fixtures that every test can take."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.services.postgres",
    "tests.services.prometheus",
    "tests.services.replay",
    "tests.services.statsd",
    "tests.services.wire",
    "tests.services.embeddings_wire",  # after the one it imports
]


# No deadlines, since a machine that runs two tests at a time is now and then slow. The rest is what
# Hypothesis has for CI: what fails there fails again, and it prints how to repeat it.
settings.register_profile(
    "ci",
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


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops; a test of LangChain, which runs on asyncio alone, overrides it."""
    return str(request.param)
