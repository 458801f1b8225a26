"""Objectives are for agents that a real Prometheus has seen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import ConfigurationError, Namespace, PrometheusRecorder, expect
from agentmetrics.exposition import start_http_server_in_thread
from agentmetrics.operations.known_agents import check_agents
from tests.services.process import free_port
from tests.services.prometheus import PrometheusServer


@pytest.fixture(scope="module", params=["", "shop"], ids=["plain", "in a namespace"])
def namespace(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(prometheus: Callable[..., PrometheusServer], namespace: str) -> Iterator[str]:
    """The address of a Prometheus that knows a planner and a reviewer."""
    exposed = PrometheusRecorder(CollectorRegistry())
    recorder = Namespace(exposed, namespace) if namespace else exposed
    expect(["planner", "reviewer"], ["openai:gpt-4o"], recorder=recorder)
    with start_http_server_in_thread(exposed) as server:
        asked = prometheus(f"127.0.0.1:{server.port}")
        asked.scraped()
        yield asked.url


def sentence(names: list[str], url: str, namespace: str = "") -> str:
    with pytest.raises(ConfigurationError) as raised:
        check_agents(names, url, namespace)
    return str(raised.value)


def test_only_an_agent_that_is_not_known_is_refused(url: str, namespace: str) -> None:
    check_agents(["reviewer", "planner"], f"{url}/", namespace)
    check_agents([], url, namespace)
    assert "'writer'" in sentence(["reviewer", "planner", "writer"], url, namespace)


def test_an_agent_that_is_misspelt_is_named_with_the_one_that_may_be_meant(
    url: str, namespace: str
) -> None:
    said = sentence(["planner", "reviwer"], url, namespace)
    assert said.endswith("has no calls of an agent 'reviwer': did you mean 'reviewer'?")


def test_an_agent_like_no_other_is_named_with_those_there_are(url: str, namespace: str) -> None:
    assert sentence(["x"], url, namespace).endswith(": it has 'planner', 'reviewer'")


def test_another_namespace_has_no_agents(url: str, namespace: str) -> None:
    assert sentence(["planner"], url, "other").endswith("an agent 'planner': it has none")


def test_a_prometheus_that_is_away_is_said_without_its_password() -> None:
    port = free_port()
    said = sentence(["planner"], f"http://joe:s3cret@127.0.0.1:{port}")
    assert f"the Prometheus at 127.0.0.1:{port} does not say which agents it has" in said
    assert "s3cret" not in said


def test_what_is_no_prometheus_is_said(url: str) -> None:
    assert "(HTTP 404)" in sentence(["planner"], f"{url}/nowhere")


@pytest.mark.parametrize("wrong", ["localhost:9090", "ftp://localhost", "", "/etc/passwd"])
def test_what_is_no_address_is_said(wrong: str) -> None:
    said = sentence(["planner"], wrong)
    assert said.startswith(f"{wrong!r} is not the address of a Prometheus: write http://")


def test_ops_export_writes_nothing_for_an_agent_that_is_unknown(
    url: str, namespace: str, tmp_path: Path
) -> None:
    objectives, kit = tmp_path / "slo.toml", tmp_path / "kit"
    objectives.write_text("[agents.reviwer]\navailability = 0.999\n")
    options = ["--slo", str(objectives), "--prometheus", url, "--namespace", namespace]
    command = [sys.executable, "-m", "agentmetrics.cli", "ops", "export", str(kit), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'reviewer'?" in " ".join(done.stderr.split())
    assert not kit.exists()

    objectives.write_text("[agents.reviewer]\navailability = 0.999\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (kit / "prometheus" / "prometheus.yml").exists()
