"""What is published, built once, and virtual environments that have it and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NO_SETTINGS = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
"""The environment of a program that nobody has configured."""


def run(*command: str | Path, **options: object) -> str:
    """What a program prints on standard output; one that fails shows all that it said."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {said}"
    return str(done.stdout).strip()


class Environment:
    """A virtual environment with the wheel, some of its extras, and what these need."""

    def __init__(self, directory: Path) -> None:
        self.python = directory / "bin" / "python"
        self._directory = directory

    def make(
        self,
        wheel: Path,
        extras: str,
        *links: Path,
        others: Sequence[str] = (),
        constraints: Path = ROOT / "constraints.txt",
    ) -> None:
        """``links`` are directories with wheels that no index has, ``others`` what else is in it,
        in the versions of ``constraints``."""
        run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, self._directory)
        requirement = f"llm-agentmetrics[{extras}] @ {wheel.as_uri()}"
        install = (BIN / "uv", "pip", "install", "--quiet", "--python", self.python)
        found = [part for link in links for part in ("--find-links", link)]
        run(*install, "--constraint", constraints, *found, requirement, *others)

    def run(self, code: str, **settings: str) -> str:
        """What a program prints that nobody has configured but for ``settings``."""
        with NamedTemporaryFile(
            "w", encoding="utf-8", suffix=".py", dir=self._directory, delete=False
        ) as program:
            program.write(code)
        # -I: neither this directory nor a variable brings in the sources.
        command = (self.python, "-I", "-W", "error", program.name)
        return run(*command, env=NO_SETTINGS | settings, cwd=self._directory)

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """The command line, ended."""
        return subprocess.run(
            [str(self._directory / "bin" / "agentmetrics"), *arguments],
            env=NO_SETTINGS | settings,
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def installed(self) -> set[str]:
        """The names of the distributions in it."""
        listed = run(BIN / "uv", "pip", "list", "--python", self.python, "--format", "json")
        return {entry["name"] for entry in json.loads(listed)}


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the sdist, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("dist")
    with_uv = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    build = (sys.executable, "-m", "build", "--installer", "uv", "--outdir", directory)
    run(*build, ROOT, env=with_uv)
    return directory


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(distributions: Path) -> Path:
    (found,) = distributions.glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def environment(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Environment]:
    """``environment("prices")`` has this extra, ``environment("")`` none; each is made once."""
    made: dict[str, Environment] = {}

    def get(extras: str) -> Environment:
        if extras not in made:
            new = Environment(tmp_path_factory.mktemp("venv") / (extras or "bare"))
            new.make(wheel, extras)
            made[extras] = new
        return made[extras]

    return get
