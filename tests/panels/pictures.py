"""``python -m tests.panels.pictures`` draws the boards for the docs, into ``docs/images/boards/``.

It takes a quarter of an hour: so long runs the demo, whose agents the pictures show. Platform shows
the program of the tests of boards, since its metrics come from plugins.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder
from agentmetrics.exposition import start_http_server_in_thread
from agentmetrics.operations.boards import boards
from tests.integration.apps import everything
from tests.integration.test_demo import announced, started
from tests.services.kit import prometheus_with_kit
from tests.services.panels import draw, installed
from tests.services.process import required

PICTURES = Path(__file__).parents[2] / "docs" / "images" / "boards"
MINUTES = 15
SCRAPED_EVERY = 5
FEW = ("concierge", "guide", "planner", "researcher", "support", "writer")
"""The agents on the board for one or a few: they have streams, tools, a retriever and a cache."""
MAY_BE_EMPTY = ("Handler errors", "Series dropped", "Packets dropped")


@contextmanager
def demo(directory: Path) -> Iterator[str]:
    """The URL of a Prometheus that scrapes the demo."""
    log = directory / "demo.log"
    with started("demo", "--serve", "--port", "0", log=log) as process:
        target = urllib.parse.urlsplit(announced(log, process)).netloc
        job = "agentmetrics-demo"
        with prometheus_with_kit(directory, target, job=job, seconds=SCRAPED_EVERY) as server:
            yield server.url


@contextmanager
def platform(directory: Path) -> Iterator[tuple[str, everything.Everything, PrometheusRecorder]]:
    """The URL of a Prometheus that scrapes the program of the tests, the program, its recorder."""
    recorder = PrometheusRecorder(CollectorRegistry())
    with (
        start_http_server_in_thread(recorder) as served,
        everything.working(recorder, directory) as program,
        prometheus_with_kit(
            directory, f"127.0.0.1:{served.port}", job="shop", seconds=SCRAPED_EVERY
        ) as server,
    ):
        yield server.url, program, recorder


def save(
    name: str, prometheus: str, now: float, variables: Mapping[str, str | Sequence[str]]
) -> list[str]:
    """Draw a board as of ``now``, a Unix time, and return what is wrong with it."""
    picture = draw(
        boards()[name],
        prometheus=prometheus,
        variables={"datasource": "Prometheus", **variables},
        start=f"now-{MINUTES}m",
        now=now,
        scrape_interval=SCRAPED_EVERY,
    )
    path = PICTURES / f"{name}.png"
    path.write_bytes(picture.png)
    in_place = ["--force", "--ext", ".png", "--nofs"]
    subprocess.run([required("pngquant", "pngquant"), *in_place, path], check=True)
    return picture.complaints(MAY_BE_EMPTY)


def main() -> int:
    installed()
    required("pngquant", "pngquant")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        demo(Path(one)) as of_demo,
        platform(Path(other)) as (of_platform, program, recorder),
    ):
        program.work()
        unrecorded = everything.unrecorded(recorder)
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            everything.record_directly(recorder, unrecorded)
            program.work()
            time.sleep(1)
        now = time.time()
        wrong = [
            f"{name}: {complaint}"
            for name in boards()
            for complaint in save(
                name,
                of_platform if name == "platform" else of_demo,
                now,
                {"agent_name": FEW} if name == "agent" else {},
            )
        ]
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
