"""A real Prometheus with the rules of the operations kit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentmetrics.cli.demo.stack import write_files
from agentmetrics.operations.kit import KitOptions, make_kit
from tests.services.prometheus import PrometheusServer, running_with


@contextmanager
def prometheus_with_kit(
    directory: Path, *targets: str, job: str, seconds: int
) -> Iterator[PrometheusServer]:
    """Prometheus scraping ``targets``, each ``host:port``, and evaluating the rules every
    ``seconds``.

    It keeps its files and data in ``directory``.
    """
    write_files(directory, make_kit(KitOptions(parts=("prometheus",))).files)
    interval = f"{seconds}s"
    config = directory / "kit.yml"
    content = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "rule_files": [str(directory / "prometheus" / "rules" / "*.yml")],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": list(targets)}]}],
    }
    config.write_text(json.dumps(content))  # JSON is YAML
    with running_with(config, directory, targets) as server:
        yield server
