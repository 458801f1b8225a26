"""Manifests for a cluster with the Prometheus operator, and Grafana's sidecar for dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from agentmetrics.operations.yaml_text import dump

SCRAPE_LABEL = {"agentmetrics.io/scrape": "true"}
"""The label of the Services that the ServiceMonitor selects."""

_LABELS = {"app.kubernetes.io/name": "agentmetrics", "app.kubernetes.io/part-of": "agentmetrics"}

_KUSTOMIZATION = """\
# kubectl apply --server-side -n NAMESPACE -k .
# Server-side, because a dashboard may be too long for the annotation that kubectl otherwise adds.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
# The namespace that they go into: that of your monitoring.
# namespace: monitoring
# Prometheus may select by a label; kube-prometheus-stack does by the name of its Helm release.
# labels:
#   - pairs:
#       release: kube-prometheus-stack
resources:
"""

_MONITOR = """\
# Selects every Service with the label agentmetrics.io/scrape: "true", in any namespace, and scrapes
# its port named metrics. A PodMonitor is the same for Pods that have no Service.
"""


def manifests(rules: Mapping[str, str], boards: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The manifests for these files of Prometheus and these dashboards, and what lists them."""
    files = {"servicemonitor.yaml": _MONITOR + dump(_service_monitor())}
    for path, text in rules.items():
        if PurePosixPath(path).match("prometheus/rules/*.yml"):
            name = PurePosixPath(path).stem
            files[f"rules-{name}.yaml"] = dump(_prometheus_rule(name, text))
    for name, board in boards.items():
        files[f"dashboard-{name}.yaml"] = dump(_config_map(name, board))
    files["kustomization.yaml"] = _KUSTOMIZATION + "".join(
        f"  - {name}\n" for name in sorted(files)
    )
    return {f"kubernetes/{name}": text for name, text in files.items()}


def _service_monitor() -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": _metadata("agentmetrics"),
        "spec": {
            "namespaceSelector": {"any": True},
            "selector": {"matchLabels": SCRAPE_LABEL},
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
        },
    }


def _prometheus_rule(name: str, text: str) -> dict[str, Any]:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": _metadata(f"agentmetrics-{_dns(name)}"),
        "spec": yaml.safe_load(text),
    }


def _config_map(name: str, board: Mapping[str, Any]) -> dict[str, Any]:
    compact = json.dumps(board, separators=(",", ":"), ensure_ascii=False)
    metadata = _metadata(f"agentmetrics-dashboard-{_dns(name)}")
    metadata["labels"] = {**metadata["labels"], "grafana_dashboard": "1"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {f"agentmetrics-{name}.json": compact + "\n"},
    }


def _metadata(name: str) -> dict[str, Any]:
    return {"name": name, "labels": dict(_LABELS)}


def _dns(name: str) -> str:
    """A file's name as Kubernetes allows names."""
    return name.replace("_", "-").lower()
