"""What ``agentmetrics ops export`` wrote, and what to type next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agentmetrics.cli.console import output, tell, titled_table

if TYPE_CHECKING:
    from agentmetrics.operations.kit import Kit

_WHAT = {
    "dashboards": "grafana/*.json",
    "rule files": "prometheus/rules/*.yml",
    "rule tests": "prometheus/tests/*.yml",
    "runbooks": "runbooks/*.md",
    "configuration of Prometheus": "prometheus/*.yml",
    "configuration of Alertmanager": "alertmanager/**",
    "configuration of Grafana": "grafana/provisioning/**",
    "containers": "compose.yaml",
    "Kubernetes manifests": "kubernetes/*.yaml",
}


def print_table(directory: Path, kit: Kit) -> None:
    """How many files of which kind, which of them are secret, and the commands to go on with."""
    tell(f"Written to {directory}:")
    table = titled_table(None, "what", "where")
    table.columns[-1].overflow = "fold"  # paths are for copying
    table.add_column("files", justify="right")
    for what, count in _counts(kit).items():
        table.add_row(what, _WHAT[what], str(count))
    output().print(table)
    if kit.private:
        tell(f"\nReadable by you only, and not to be committed: {', '.join(sorted(kit.private))}")
    steps = "\n".join(_next_steps(shlex.quote(str(directory)), kit))
    if steps:
        tell(f"\nNext steps\n{steps}")


def print_json(directory: Path, kit: Kit) -> None:
    """The same as JSON, with all paths."""
    summary = {
        "directory": str(directory),
        "counts": _counts(kit),
        "files": list(kit.files),
        "private": sorted(kit.private),
    }
    typer.echo(json.dumps(summary, indent=2))


def _counts(kit: Kit) -> dict[str, int]:
    counts = {what: sum(_is_in(path, where) for path in kit.files) for what, where in _WHAT.items()}
    return {what: count for what, count in counts.items() if count}


def _is_in(path: str, where: str) -> bool:
    """Whether the pattern has the path: ``*`` stands for one name, ``**`` for all below."""
    folder, _, name = path.rpartition("/")
    parent, _, wanted = where.rpartition("/")
    if wanted == "**":
        return path.startswith(f"{parent}/")
    return folder == parent and name.endswith(wanted.removeprefix("*"))


def _next_steps(directory: str, kit: Kit) -> Iterator[str]:
    if "compose.yaml" in kit.files:
        yield f"  docker compose -f {directory}/compose.yaml up"
        yield "    Grafana at http://127.0.0.1:3000, Prometheus at :9090, Alertmanager at :9093"
    if "prometheus/prometheus.yml" in kit.files:
        yield f"  promtool check config {directory}/prometheus/prometheus.yml"
        yield "    after adding your programs to targets.yml beside it"
    if "alertmanager/alertmanager.yml" in kit.files:
        yield f"  amtool check-config {directory}/alertmanager/alertmanager.yml"
    if "kubernetes/kustomization.yaml" in kit.files:
        yield f"  kubectl apply --server-side -n NAMESPACE -k {directory}/kubernetes"
        yield "    in a cluster with the Prometheus operator"
