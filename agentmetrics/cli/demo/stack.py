"""Prometheus and Alertmanager with the files of the operations kit, set up for the demo."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agentmetrics.cli.console import fail
from agentmetrics.cli.demo.companions import Companion, CompanionFailed, free_port, running
from agentmetrics.operations.kit import KitOptions, make_kit

_ALERTMANAGER_NAMES = ("prometheus-alertmanager", "alertmanager")  # Debian's, and its own
_SCRAPE_SECONDS = 5


@dataclass(frozen=True)
class Programs:
    """Where the two programs are installed."""

    prometheus: str
    alertmanager: str


def installed() -> Programs:
    """The programs on the ``PATH``; ends with 2, saying what to install, when one is missing."""
    prometheus = shutil.which("prometheus")
    alertmanager = next(filter(None, map(shutil.which, _ALERTMANAGER_NAMES)), None)
    if prometheus is None or alertmanager is None:
        found = {"prometheus": prometheus, "prometheus-alertmanager": alertmanager}
        missing = [package for package, program in found.items() if program is None]
        fail(
            f"--stack cannot find {' and '.join(missing)} on the PATH; "
            f"on Debian and Ubuntu, install with: apt-get install {' '.join(missing)}",
            code=2,
        )
    return Programs(prometheus, alertmanager)


@asynccontextmanager
async def beside(
    programs: Programs, target: str, stopping: asyncio.Event
) -> AsyncIterator[tuple[Companion, Companion]]:
    """Run Prometheus and Alertmanager, in this order, beside the demo at ``target``.

    ``stopping`` is set when one of them ends by itself; the program then ends with 1.
    """
    with tempfile.TemporaryDirectory(prefix="agentmetrics-demo-") as name:
        directory = Path(name)
        write_files(directory, kit_files())
        both = stack_of(programs, directory, target)
        try:
            async with running(both, stopping):
                yield both
        except CompanionFailed as failed:
            fail(str(failed))


def kit_files() -> Mapping[str, str]:
    """The files of the operations kit, by their path in it."""
    return make_kit(KitOptions(parts=("prometheus", "alertmanager"))).files


def stack_of(programs: Programs, directory: Path, target: str) -> tuple[Companion, Companion]:
    """Prometheus and Alertmanager in the directory that holds the kit, for the demo at ``target``.

    Rules that the kit has are loaded, and alerts go to that Alertmanager.
    """
    alertmanager_port, prometheus_port = free_port(9093), free_port(9090)
    config = directory / "demo.yml"
    config.write_text(yaml.safe_dump(_config(directory, target, f"127.0.0.1:{alertmanager_port}")))
    alertmanager = Companion(
        "Alertmanager",
        (
            programs.alertmanager,
            f"--config.file={directory / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={directory / 'alertmanager-data'}",
            f"--web.listen-address=127.0.0.1:{alertmanager_port}",
            f"--web.external-url=http://127.0.0.1:{alertmanager_port}",
            "--cluster.listen-address=",  # there is one alone
            "--log.level=warn",
        ),
        alertmanager_port,
        directory / "alertmanager.log",
    )
    prometheus = Companion(
        "Prometheus",
        (
            programs.prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'prometheus-data'}",
            f"--web.listen-address=127.0.0.1:{prometheus_port}",
            f"--web.external-url=http://127.0.0.1:{prometheus_port}",
            "--log.level=warn",
        ),
        prometheus_port,
        directory / "prometheus.log",
    )
    return prometheus, alertmanager


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Write files by their relative paths."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _config(directory: Path, target: str, alertmanager: str) -> dict[str, Any]:
    interval = f"{_SCRAPE_SECONDS}s"
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(directory / "prometheus" / "rules" / "*.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": "agentmetrics-demo", "static_configs": [{"targets": [target]}]}
        ],
    }
