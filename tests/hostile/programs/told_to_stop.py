"""Calls that are told to stop anywhere in them: ``python -m …told_to_stop STRIDE DIRECTORY``.

A signal handler that raises, as Ctrl-C does, comes at every so many of the places where Python runs
handlers. Prints how many those were, how many calls were made undisturbed, and what the files of
Prometheus' multiprocess mode say that is not so in memory.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType


class Stop(BaseException):
    """What the handler raises."""


def main(stride: int, directory: Path) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    import agentmetrics
    from agentmetrics import configure, track_call, track_run, track_tool

    package = str(Path(agentmetrics.__file__).parent)
    recorder = configure(backend="prometheus")
    passed = 0

    def call(agent: str, at: int) -> None:
        """Make one, in which the handler comes at this place, if at any."""
        nonlocal passed
        passed = 0

        def look(frame: FrameType, event: str, argument: object) -> None:
            nonlocal passed
            if event in ("call", "c_return") and frame.f_code.co_filename.startswith(package):
                passed += 1
                if passed == at:
                    raise Stop

        sys.setprofile(look)
        try:
            with track_run(agent), track_tool("tool"), track_call("openai", "gpt-4o-mini") as made:
                made.record_usage(9, 9)
        finally:
            sys.setprofile(None)

    def stopped(at: int) -> None:
        with suppress(Stop):
            call("stopped", at)

    call("stopped", 0)
    call("stopped", 0)
    places = range(1, passed, stride)
    for at in places:
        stopped(at)
        call("next", 0)
    recorder.flush()
    scraped = _scraped()
    differ, compared = {}, 0
    for sample in recorder.samples():
        if sample.name.endswith(("_total", "_count", "_sum", "_bucket")):
            compared += 1
            in_files = scraped.get(_key(sample.name, sample.labels), 0.0)
            if abs(sample.value - in_files) > 1e-9:
                differ[str(sample)] = in_files
    undisturbed = recorder.value("llm_calls_total", agent_name="next")
    print(json.dumps([len(places), undisturbed, compared, differ]))


_Key = tuple[str, tuple[tuple[str, str], ...]]


def _key(name: str, labels: Mapping[str, str]) -> _Key:
    return name, tuple(sorted(labels.items()))


def _scraped() -> dict[_Key, float]:
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return {
        _key(sample.name, sample.labels): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
