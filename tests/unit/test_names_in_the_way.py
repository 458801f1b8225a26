"""A metric's name that is taken on a Prometheus registry stops the program at the start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

import agentmetrics
from agentmetrics import (
    CommonLabels,
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    MetricsCallbackHandler,
    NoopRecorder,
    PrometheusRecorder,
    configure,
    get_recorder,
    track_call,
)
from agentmetrics.backends import prometheus
from agentmetrics.catalog import CATALOG
from agentmetrics.config.active import replaced

SENTENCE = (
    "llm_calls_total is already on this Prometheus registry, from something other than "
    "agentmetrics: unregister it or set AGENTMETRICS_NAMESPACE"
)


@pytest.fixture(autouse=True)
def in_use() -> Iterator[NoopRecorder]:
    with replaced(NoopRecorder()) as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def default_registry() -> None:
    """Has nothing of ours, whatever other tests of this process have left on it."""
    left = prometheus._collectors.pop(REGISTRY, None)
    if left is not None:
        REGISTRY.unregister(left)


@pytest.fixture
def registry() -> CollectorRegistry:
    """One that an older module of the program has put a metric of the same name on."""
    registry = CollectorRegistry()
    Counter("llm_calls", "Of an older module.", registry=registry)
    return registry


USES: dict[str, Any] = {
    "configure": configure,
    "in a fanout": lambda recorder: configure(FanoutRecorder([MemoryRecorder(), recorder])),
    "in a layer": lambda recorder: configure(CommonLabels(recorder, {"env": "prod"})),
    "a handler": MetricsCallbackHandler,
    "track_call": lambda recorder: track_call("openai", "gpt-4o-mini", recorder=recorder),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_recorder_on_that_registry_is_refused_in_one_sentence(registry, use, in_use) -> None:
    with pytest.raises(ConfigurationError) as refused:
        use(PrometheusRecorder(registry))
    assert str(refused.value) == SENTENCE
    assert get_recorder() is in_use
    with track_call("openai", "gpt-4o-mini"):  # what was in use before goes on
        pass


@pytest.mark.parametrize("metric", CATALOG, ids=lambda metric: metric.name)
def test_any_of_our_names_is_refused_with_the_setting_to_change(metric, in_use) -> None:
    Gauge(metric.name, "Of an older module.")
    try:
        with pytest.raises(ConfigurationError, match=r"^AGENTMETRICS_BACKEND='prometheus': ") as no:
            configure(backend="prometheus")
        assert f" {metric.name} is already on this Prometheus registry" in str(no.value)
    finally:
        REGISTRY.unregister(REGISTRY._names_to_collectors[metric.name])
    assert get_recorder() is in_use


def test_a_namespace_is_the_way_out(registry) -> None:
    recorder = configure(agentmetrics.Namespace(PrometheusRecorder(registry), "shop"))
    with track_call("openai", "gpt-4o-mini"):
        pass
    assert recorder.value("llm_calls_total") == 1


def test_check_sees_what_a_module_of_the_program_has_put_there(tmp_path: Path) -> None:
    (tmp_path / "shop_metrics.py").write_text(
        "from prometheus_client import Counter\nCounter('llm_calls', 'Of an older module.')\n"
    )
    command = [sys.executable, "-m", "agentmetrics.cli", "check"]
    environment = {"AGENTMETRICS_BACKEND": "prometheus", "PATH": "/usr/bin:/bin", "COLUMNS": "120"}

    def check(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr

    assert check() == (0, "")
    assert check("--import", "shop_metrics") == (
        1,
        f"agentmetrics: AGENTMETRICS_BACKEND='prometheus': {SENTENCE}\n",
    )
    code, said = check("--import", "shop_metric")
    assert code == 1
    assert "--import shop_metric: ModuleNotFoundError: No module named 'shop_metric'" in said
