"""Budgets in a TOML file, and what is said of one that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentmetrics.budget.budgets.file import read_budgets

GOOD = """
[budgets.team]
limit_usd = 50
period = "monthly"
scope = { agent_name = "planner", tenant = "acme" }
thresholds = [50, 80, 100]
action = "block"
reserve = "max_tokens"

[budgets."the firm"]
limit_usd = 1000.5
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "budgets.toml"
    path.write_text(text)
    return path


def test_a_file_holds_budgets_by_name(tmp_path: Path) -> None:
    team, firm = read_budgets(written(tmp_path, GOOD))
    assert (team.name, team.limit_usd, team.period) == ("team", 50, "monthly")
    assert team.scope == {"agent_name": "planner", "tenant": "acme"}
    assert team.thresholds == (50, 80, 100)
    assert (team.action, team.reserve) == ("block", "max_tokens")
    assert (firm.name, firm.limit_usd, firm.period, firm.action) == (
        "the firm", 1000.5, "daily", "warn",
    )  # fmt: skip


def test_a_file_says_whom_to_tell_of_all_budgets_that_say_nothing_else(tmp_path: Path) -> None:
    budgets = read_budgets(
        written(
            tmp_path,
            'notify = ["slack:A"]\n[budgets.all]\nlimit_usd = 1\n'
            '[budgets.own]\nlimit_usd = 1\nnotify = ["webhook:B"]\n'
            "[budgets.none]\nlimit_usd = 1\nnotify = []\n",
        )
    )
    assert [budget.notify for budget in budgets] == [("slack:A",), ("webhook:B",), ()]


def test_a_file_is_utf_8_whatever_the_machine_writes(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_bytes('[budgets."Büro"]\nlimit_usd = 1'.encode())
    program = (
        "import sys, pathlib; from agentmetrics.budget.budgets.file import read_budgets\n"
        "print(ascii(read_budgets(pathlib.Path(sys.argv[1]))[0].name))"
    )
    ascii_machine = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, path],
        env={**os.environ, **ascii_machine},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "'B\\xfcro'\n", done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[budgets.a]\nlimit_usd = 1\n[budgets.a]\nlimit_usd = 2", "line 3"),
        ("budgets = 3", "defines no budgets"),
        ("", "defines no budgets"),
        ("[budget.a]\nlimit_usd = 1", "line 1: [budget] is not a known table: use [budgets.NAME]"),
        ("[budgets]\na = 3", "[budgets.a] must be a table"),
        ("[budgets.a]\nperiod = 'daily'", "[budgets.a] has no limit_usd"),
        (
            "[budgets.a]\nlimit = 3",
            "line 2: [budgets.a] has an unknown key 'limit': use one of limit_usd, period",
        ),
        ("\n[budgets.a]\nlimit_usd = -3", "line 3: [budgets.a] limit_usd=-3: must be a nu"),
        ("[budgets.a]\nlimit_usd = 1\nthresholds = 80", "thresholds=80: must be a list"),
        ("[budgets.a]\nlimit_usd = 1\nscope = 'x'", "scope='x': must be a table of labels"),
        ("\nnotify = 'slack:A'\n[budgets.a]\nlimit_usd = 1", "line 2: notify: must be a list of"),
        (
            "[budgets.a]\nlimit_usd = 1\nnotify = ['slack:A', 'https://example.com/x']",
            "line 3: [budgets.a] notify[1]: must be 'slack:VARIABLE' or 'webhook:VARIABLE'",
        ),
        (
            "[budgets.a]\nlimit_usd = 1\nnotify = ['pager:A']",
            "line 3: [budgets.a] notify[0]: 'pager' is not a known kind of destination",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^") as refused:
        read_budgets(written(tmp_path, text))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_budgets(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        read_budgets(tmp_path / "bytes.toml")
