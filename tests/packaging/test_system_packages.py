"""What ``.ci/packages`` says on machines that lack something ``make test`` needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT


def packages(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The script, ended; with ``path`` it finds no other programs than those in there."""
    bash = shutil.which("bash")
    assert bash
    return subprocess.run(
        [bash, str(ROOT / ".ci" / "packages"), *arguments],
        env={"PATH": str(path)} if path else None,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def python_alone(tmp_path: Path) -> Path:
    """A directory with python3 and no other program, so no apt-get either."""
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())
    return tmp_path


def test_where_all_is_there_nothing_is_done():
    done = packages()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_apt_one_sentence_says_what_to_install(python_alone: Path):
    done = packages(path=python_alone)
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert "no apt-get" in sentence
    assert {"prometheus", "nodejs", "npm"} <= set(sentence.split())


def test_without_any_python_it_is_among_the_missing(tmp_path: Path):
    done = packages(path=tmp_path)
    assert done.returncode == 1
    assert {"python3", "python3-venv"} <= set(done.stderr.split())


def test_a_python_that_is_not_there_is_not_guessed_at():
    done = packages("python3.99")
    assert done.returncode == 1
    assert done.stderr == ("make test: there is no python3.99: name one with make test PYTHON=…\n")
