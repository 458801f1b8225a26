"""The distributions of plugins, each installed beside the core's wheel and nothing else."""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.packaging.conftest import BIN, ROOT, Environment, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PLUGINS = {path.name.removeprefix("agentmetrics-"): path for path in ROOT.glob("plugins/*-*")}
BACKENDS = {"otel": "OTelRecorder", "datadog": "DogStatsDRecorder"}

WheelOf = Callable[[str], Path]


@pytest.fixture(scope="session")
def plugin_wheel(tmp_path_factory: pytest.TempPathFactory) -> WheelOf:
    """The wheel of a plugin, built once."""
    directory = tmp_path_factory.mktemp("plugins")
    with_uv = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    @cache
    def build(name: str) -> Path:
        out = directory / name
        command = (sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir", out)
        run(*command, PLUGINS[name], env=with_uv)
        (wheel,) = out.glob("*.whl")
        return wheel

    return build


@pytest.fixture(scope="session")
def beside_the_core(
    wheel: Path, plugin_wheel: WheelOf, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    """A virtual environment with the core's wheel, a plugin's wheel and what that one needs."""

    @cache
    def make(name: str) -> Environment:
        environment = Environment(tmp_path_factory.mktemp("beside") / name)
        environment.make(wheel, name, plugin_wheel(name).parent)
        return environment

    return make


@pytest.mark.parametrize("name", PLUGINS)
class TestEachPlugin:
    def test_the_wheel_has_its_module_with_types_and_nothing_else(
        self, plugin_wheel: WheelOf, name: str
    ) -> None:
        with zipfile.ZipFile(plugin_wheel(name)) as archive:
            files = archive.namelist()
        tops = {file.split("/")[0] for file in files}
        assert tops == {f"agentmetrics_{name}", f"llm_agentmetrics_{name}-0.1.0.dist-info"}
        assert f"agentmetrics_{name}/py.typed" in files

    def test_an_index_shows_its_readme(self, plugin_wheel: WheelOf, name: str) -> None:
        with zipfile.ZipFile(plugin_wheel(name)) as archive:
            shown = archive.read(f"llm_agentmetrics_{name}-0.1.0.dist-info/METADATA")
        metadata = message_from_bytes(shown)
        assert metadata["Description-Content-Type"] == "text/markdown"
        readme = (PLUGINS[name] / "README.md").read_text(encoding="utf-8")
        description = metadata.get_payload(decode=True)
        assert isinstance(description, bytes)
        assert description.decode().strip() == readme.strip()
        assert f"pip install 'llm-agentmetrics[{name}]'" in readme

    def test_the_extra_of_its_name_installs_it(
        self, beside_the_core: Callable[[str], Environment], name: str
    ) -> None:
        others = {f"llm-agentmetrics-{other}" for other in PLUGINS if other != name}
        installed = beside_the_core(name).installed()
        assert f"llm-agentmetrics-{name}" in installed
        assert installed & others == set()

    def test_it_works_where_nothing_else_is_installed(
        self, beside_the_core: Callable[[str], Environment], name: str
    ) -> None:
        told = beside_the_core(name).run(
            f"import agentmetrics, agentmetrics_{name} as plugin\n"
            "for public in plugin.__all__:\n"
            "    getattr(plugin, public)\n"
            "print(type(agentmetrics.get_recorder()).__name__)\n",
            **({"AGENTMETRICS_BACKEND": name} if name in BACKENDS else {}),
        )
        assert told == BACKENDS.get(name, "MemoryRecorder")

    def test_it_says_which_core_it_stands_on(self, name: str) -> None:
        project = tomllib.loads((PLUGINS[name] / "pyproject.toml").read_text())["project"]
        (core,) = (
            need
            for need in map(Requirement, project["dependencies"])
            if need.name == "llm-agentmetrics"
        )
        assert "0.1.0" in core.specifier
        assert "0.2.0" not in core.specifier
