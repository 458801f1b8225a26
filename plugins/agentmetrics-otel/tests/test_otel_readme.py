"""The README: its examples run, and its tables are what the code has."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import agentmetrics
from agentmetrics.config.active import replaced
from agentmetrics_otel import environment
from agentmetrics_otel.conventions import CHOICES, OPT_IN
from agentmetrics_otel.outlets import users_provider
from tests.services.otlp import OTLPReceiver

README = (Path(__file__).parents[1] / "README.md").read_text()
PROVIDER, LIFESPAN = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_with_a_provider_delivers_to_it(otlp: OTLPReceiver) -> None:
    program = PROVIDER + (
        "with agentmetrics.track_call('openai', 'gpt-4o-mini') as call:\n"
        "    call.record_usage(10, 5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"llm_calls_total"' in done.stdout
    assert not otlp.requests


def test_the_lifespan_exports_at_its_end(otlp: OTLPReceiver) -> None:
    namespace: dict[str, object] = {}
    exec(LIFESPAN, namespace)
    with replaced(agentmetrics.MemoryRecorder()):  # and back to what was configured before
        agentmetrics.configure(backend="otel")
        with agentmetrics.track_call("openai", "gpt-4o-mini") as call:
            call.record_usage(10, 5)

        async def live() -> None:
            async with namespace["lifespan"](None):  # type: ignore[operator]
                assert not otlp.streams

        asyncio.run(live())
        assert otlp.total("llm_calls_total") == 1


def test_its_table_of_conventions_is_what_they_replace() -> None:
    _, _, table = README.partition("| instrument | of | instead of |\n")
    rows: dict[str, tuple[str, ...]] = {}
    for line in table.partition("\n\n")[0].splitlines():
        instruments, _, replaced = line.strip("|").split("|")
        for name in re.findall(r"`(gen_ai\.[^`]*)`", instruments):
            rows[name] = tuple(re.findall(r"`([^`]*)`", replaced))
    assert rows == {
        reported.name: reported.replaces
        for convention in CHOICES.values()
        for reported in convention.instruments
    }


def test_it_names_every_variable_that_is_read_and_every_choice() -> None:
    for text in (environment.EXPORTER, environment.INTERVAL, OPT_IN, *CHOICES):
        assert f"`{text}`" in README
    assert f"`{environment.DEFAULT_INTERVAL_MILLIS}`" in README
    assert users_provider() is None
