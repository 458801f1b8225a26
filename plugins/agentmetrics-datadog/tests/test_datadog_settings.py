"""The variables: Datadog's own and those of the backend, the container, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentmetrics import ConfigurationError, Settings, configure
from agentmetrics.plugin import without_password
from agentmetrics_datadog import DogStatsDRecorder, environment
from agentmetrics_datadog.container import container_id

ID = "0123456789abcdef" * 4
UUID = "34dc0b5e-626f-2c5c-4c51-70e34b10e765"
TASK = "0123456789abcdef" * 2 + "-1234567890"
HOST_NAMESPACE = 0xEFFFFFFB


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("DD_", "DATADOG_", "AGENTMETRICS_")):
            monkeypatch.delenv(name)


Setting = Callable[..., environment.Environment]


@pytest.fixture
def with_variables(monkeypatch: pytest.MonkeyPatch) -> Setting:
    """What is read from these variables."""

    def read(**variables: str) -> environment.Environment:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return environment.read(Settings.model_construct())

    return read


class TestWhereTheAgentIs:
    @pytest.mark.parametrize(
        ("variables", "url"),
        [
            ({}, "udp://localhost:8125"),
            ({"DD_AGENT_HOST": "10.0.0.1"}, "udp://10.0.0.1:8125"),
            ({"DD_AGENT_HOST": "::1", "DD_DOGSTATSD_PORT": "9"}, "udp://[::1]:9"),
            ({"DD_DOGSTATSD_URL": "unix:///a/b", "DD_AGENT_HOST": "x"}, "unix:///a/b"),
            ({"DD_DOGSTATSD_SOCKET": "/a/b"}, "unix:///a/b"),
            ({"DD_DOGSTATSD_SOCKET": "unixstream:///a/b"}, "unixstream:///a/b"),
            (
                {"DD_DOGSTATSD_URL": "udp://a:1", "AGENTMETRICS_DATADOG_URL": "udp://b:2"},
                "udp://b:2",
            ),
        ],
    )
    def test_the_most_particular_variable_counts(
        self, with_variables: Setting, variables: dict[str, str], url: str
    ) -> None:
        assert with_variables(**variables).url == url

    @pytest.mark.parametrize(
        ("url", "where"),
        [
            ("udp://[::1]:9", "::1:9 over UDP"),
            ("udp://agent", "agent:8125 over UDP"),
            ("unixgram:///a/b", "the socket '/a/b'"),
        ],
    )
    def test_an_address_is_a_host_or_a_path(self, url: str, where: str) -> None:
        recorder = DogStatsDRecorder(url)
        assert where in recorder._delivery.route.sentence(OSError("gone"))

    @pytest.mark.parametrize(
        "url",
        [
            *("", "localhost:8125", "http://localhost:8125", "udp://", "udp://a:port"),
            *("udp://a:0", "udp://a:65536", "unix://", "unix:///", "unix://a/b", "udp://[::1"),
        ],
    )
    def test_an_address_that_is_none_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError) as raised:
            DogStatsDRecorder(url)
        assert str(raised.value) == (
            f"{without_password(url)!r} is no address of DogStatsD: write udp://host:8125, "
            "unix:///path/to/dsd.socket or unixstream:///path/to/dsd.socket"
        )


class TestTags:
    def test_datadogs_variables_are_tags(self, with_variables: Setting) -> None:
        read = with_variables(
            DD_TAGS="team:agents region:eu,url:a:b,bare env:from-tags",
            DD_ENV="prod",
            DD_SERVICE="shop",
            DD_VERSION="7",
            DD_ENTITY_ID="pod-1",
            AGENTMETRICS_DATADOG_TAGS="region:us, worker:1",
        )
        assert read.tags == {
            "team": "agents",
            "region": "us",
            "url": "a:b",
            "env": "prod",
            "service": "shop",
            "version": "7",
            "dd.internal.entity_id": "pod-1",
            "worker": "1",
        }

    @pytest.mark.parametrize(("value", "tag"), [("", "pid"), ("worker", "worker"), ("off", "")])
    def test_the_tag_of_the_process_can_be_named_or_left_out(
        self, with_variables: Setting, value: str, tag: str
    ) -> None:
        assert with_variables(AGENTMETRICS_DATADOG_PROCESS_TAG=value).process_tag == tag

    def test_the_service_of_the_settings_is_the_service(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = Settings.model_construct(service="shop", service_version="7")
        assert environment.read(settings).tags == {"service": "shop", "version": "7"}
        monkeypatch.setenv("DD_SERVICE", "till")
        assert environment.read(settings).tags == {"service": "till", "version": "7"}


class TestMistakes:
    @pytest.mark.parametrize(
        ("variables", "sentence"),
        [
            (
                {"AGENTMETRICS_DATADOG_URL": "localhost"},
                (
                    "AGENTMETRICS_DATADOG_URL='localhost': 'localhost' is no address of DogStatsD: "
                    "write udp://host:8125, unix:///path/to/dsd.socket or "
                    "unixstream:///path/to/dsd.socket"
                ),
            ),
            (
                {"DD_DOGSTATSD_URL": "http://joe:s3cret@host"},
                (
                    "DD_DOGSTATSD_URL='http://joe:***@host': 'http://joe:***@host' is no address "
                    "of DogStatsD: write udp://host:8125, unix:///path/to/dsd.socket or "
                    "unixstream:///path/to/dsd.socket"
                ),
            ),
            (
                {"DD_DOGSTATSD_PORT": "none"},
                "DD_DOGSTATSD_PORT='none': use a number from 1 to 65535",
            ),
            (
                {"AGENTMETRICS_DATADOG_FLUSH_INTERVAL": "0"},
                (
                    "AGENTMETRICS_DATADOG_FLUSH_INTERVAL='0': use a number of seconds above 0, "
                    "such as 1.0"
                ),
            ),
            (
                {"AGENTMETRICS_DATADOG_FLUSH_INTERVAL": "often"},
                (
                    "AGENTMETRICS_DATADOG_FLUSH_INTERVAL='often': use a number of seconds above 0, "
                    "such as 1.0"
                ),
            ),
            (
                {"AGENTMETRICS_DATADOG_PROTOCOL": "2"},
                "AGENTMETRICS_DATADOG_PROTOCOL='2': use one of 1.0, 1.1, 1.2",
            ),
            (
                {"AGENTMETRICS_DATADOG_TAGS": "a:b,c"},
                "AGENTMETRICS_DATADOG_TAGS='a:b,c': use comma-separated key:value pairs",
            ),
            (
                {"AGENTMETRICS_DATADOG_TAG": "a:b"},
                (
                    "AGENTMETRICS_DATADOG_TAG is set but is no setting of the backend 'datadog': "
                    "did you mean AGENTMETRICS_DATADOG_TAGS?"
                ),
            ),
        ],
    )
    def test_a_variable_that_cannot_be_used_stops_with_one_sentence(
        self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError) as raised:
            configure(backend="datadog")
        assert raised.value.args == (sentence,)

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"protocol": "2"}, "the DogStatsD protocol is '2'; use one of 1.0, 1.1, 1.2"),
            (
                {"flush_interval_seconds": 0},
                "the DogStatsD flush interval is 0; it must be above 0 seconds",
            ),
        ],
    )
    def test_a_recorder_that_can_never_work_is_refused(
        self, arguments: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(ValueError) as raised:
            DogStatsDRecorder(**arguments)
        assert str(raised.value) == sentence


def proc(tmp_path: Path, cgroup: str) -> Path:
    """A /proc/self of a process in these cgroups."""
    (tmp_path / "proc" / "ns").mkdir(parents=True)
    (tmp_path / "proc" / "cgroup").write_text(cgroup)
    (tmp_path / "proc" / "ns" / "cgroup").touch()
    return tmp_path / "proc"


class TestTheContainer:
    @pytest.fixture
    def in_host_namespace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agentmetrics_datadog.container._is_host_namespace", lambda _: True)

    @pytest.mark.parametrize(
        ("cgroup", "found"),
        [
            (f"1:memory:/docker/{ID}\n0::/\n", f"ci-{ID}"),
            (f"0::/system.slice/docker-{ID}.scope\n", f"ci-{ID}"),
            (f"0::/kubepods.slice/kubepods-pod{UUID}.slice/cri-containerd-{ID}.scope", f"ci-{ID}"),
            (f"5:cpu:/ecs/{TASK}/{TASK}\n", f"ci-{TASK}"),
            (f"0::/garden/{UUID}\n", f"ci-{UUID}"),
            ("0::/user.slice/user-1000.slice\n", ""),
            ("0::/\n", ""),
            ("nothing of the kind", ""),
        ],
    )
    @pytest.mark.usefixtures("in_host_namespace")
    def test_the_path_of_a_cgroup_names_it(self, tmp_path: Path, cgroup: str, found: str) -> None:
        assert container_id(proc(tmp_path, cgroup), tmp_path) == found

    @pytest.mark.parametrize("controller", ["", "memory"])
    def test_in_a_namespace_of_its_own_it_is_the_inode_of_its_cgroup(
        self, tmp_path: Path, controller: str
    ) -> None:
        mounted = tmp_path / "cgroups"
        (mounted / controller / "inner").mkdir(parents=True)
        inode = (mounted / controller / "inner").stat().st_ino
        found = container_id(proc(tmp_path, f"3:{controller}:/inner\n"), mounted)
        assert found == f"in-{inode}"

    def test_where_nothing_is_mounted_there_is_none(self, tmp_path: Path) -> None:
        assert container_id(tmp_path / "nowhere", tmp_path) == ""
        assert container_id(proc(tmp_path, "0::/elsewhere\n"), tmp_path / "nowhere") == ""

    @pytest.mark.parametrize("value", ["false", "False", "0", "no", "off"])
    def test_it_is_not_looked_for_where_that_is_not_wanted(
        self, with_variables: Setting, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setattr(environment, "container_id", lambda: "ci-1")
        assert with_variables().container_id == "ci-1"
        assert with_variables(DD_ORIGIN_DETECTION_ENABLED=value).container_id == ""
