"""Fixtures that every test can take."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.services.postgres",
    "tests.services.prometheus",
    "tests.services.replay",
    "tests.services.statsd",
    "tests.services.wire",
    "tests.services.embeddings_wire",  # after the one it imports
]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops; a test of LangChain, which runs on asyncio alone, overrides it."""
    return str(request.param)
