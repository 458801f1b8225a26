"""The wheel and the sdist: what an index shows of them, and what is in them."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import ROOT, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TARGETS = re.compile(
    r"""
    \]\( \s* <? ([^)\s>]+)          # [text](target), ![text](target)
    | ^\s*\[[^\]]+\]: \s* <? (\S+)  # [text]: target
    | (?:href|src) = ["']([^"']+)   # <a href="target">, <img src="target">
    """,
    re.VERBOSE | re.MULTILINE,
)


def link_targets(markdown: str) -> list[str]:
    """Where the links of a text lead to, without those inside code."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", markdown, flags=re.DOTALL | re.MULTILINE)
    return ["".join(groups) for groups in TARGETS.findall(text)]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        loaded: dict[str, Any] = tomllib.load(file)
    return loaded


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel_files: dict[str, bytes]) -> Message:
    (name,) = (name for name in wheel_files if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel_files[name])


@pytest.fixture(scope="module")
def description(metadata: Message) -> str:
    payload = metadata.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


def test_an_index_would_take_both(wheel: Path, sdist: Path):
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)


class TestTheDescription:
    def test_the_description_is_the_readme(self, description, metadata):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        assert description.splitlines()[0] == readme.splitlines()[0]
        assert len(link_targets(description)) == len(link_targets(readme)) > 0
        assert metadata["Description-Content-Type"] == "text/markdown"

    def test_the_description_has_no_link_that_needs_the_files_beside_it(self, description):
        relative = [t for t in link_targets(description) if not re.match(r"https?://|#", t)]
        assert relative == []

    def test_the_description_links_to_files_that_are_there(self, description, project):
        base = re.escape(project["project"]["urls"]["Source"])
        found = [re.match(f"{base}/(blob|raw)/main/([^#]+)", t) for t in link_targets(description)]
        ours = {match[2]: match[1] for match in found if match}
        assert [path for path in ours if not (ROOT / path).exists()] == []
        pictures = {path for path in ours if path.endswith((".png", ".svg"))}
        assert {path for path, kind in ours.items() if kind == "raw"} == pictures != set()

    @pytest.mark.parametrize(
        ("markdown", "target"),
        [
            ("see [design](docs/design.md)", "docs/design.md"),
            ("![logo](docs/logo.svg 'the logo')", "docs/logo.svg"),
            ("[design]: docs/design.md", "docs/design.md"),
            ('<a href="docs/design.md">', "docs/design.md"),
        ],
    )
    def test_the_description_would_not_hide_a_link(self, markdown, target):
        assert link_targets(markdown) == [target]


def test_every_address_of_the_project_is_in_one_repository(metadata, project):
    told = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL"))
    assert told == project["project"]["urls"]
    assert set(told) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(url.startswith(told["Source"]) for url in told.values())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"git clone {told['Source']}" in readme


class TestTheWheel:
    def test_the_wheel_has_the_package_and_nothing_beside_it(self, wheel_files):
        tops = {name.partition("/")[0] for name in wheel_files}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"agentmetrics"}

    def test_the_wheel_has_every_file_of_the_package(self, wheel_files):
        files = (path for path in (ROOT / "agentmetrics").rglob("*") if path.is_file())
        sources = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
        assert {name for name in wheel_files if name.startswith("agentmetrics/")} == sources

    def test_the_wheel_says_that_it_is_typed(self, wheel_files):
        assert "agentmetrics/py.typed" in wheel_files

    def test_the_wheel_brings_its_licence(self, wheel_files):
        (name,) = (name for name in wheel_files if name.endswith("/licenses/LICENSE"))
        assert wheel_files[name] == (ROOT / "LICENSE").read_bytes()


def test_the_sdist_can_be_tested(sdist: Path):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "tests/fixtures.py", ".ci/packages"} <= names
