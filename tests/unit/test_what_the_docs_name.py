"""What runbooks and pages tell a reader to set, type or call is there."""

from __future__ import annotations

import re
import shlex
from itertools import chain
from pathlib import Path

import langchain.agents.middleware
import langchain_openai
import pytest
from typer.testing import CliRunner

import agentmetrics
from agentmetrics.cli.app import app
from agentmetrics.config.loading import variable_of
from agentmetrics.config.settings import Settings
from agentmetrics.operations.rules.files import ALERTS, runbooks

DOCS = Path(__file__).parents[2] / "docs"
OF_PLUGINS = {"AGENTMETRICS_JSONLINES_PATH"}
TEXTS = {
    **runbooks(),
    **{f"docs/{path.name}": path.read_text("utf-8") for path in sorted(DOCS.glob("*.md"))},
}
PAGES = {path: text for path, text in TEXTS.items() if path.startswith("runbooks/")}
EVERY_TEXT = pytest.mark.parametrize("path", TEXTS)


def commands(text: str) -> list[str]:
    """What a reader is told to type that begins with ``agentmetrics``, inline or in a block."""
    inline = re.findall(r"`(agentmetrics [a-z][^`]*)`", text)
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)
    in_blocks = (
        re.findall(r"^(?:\$ )?(agentmetrics .*)", block.replace("\\\n", ""), re.MULTILINE)
        for block in blocks
    )
    return [*inline, *chain.from_iterable(in_blocks)]


def is_taken(typed: str) -> bool:
    """Whether the command line knows this command and its options."""
    words = shlex.split(typed, comments=True)[1:]
    return CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


@EVERY_TEXT
def test_a_variable_is_one_of_the_settings(path: str) -> None:
    settings = {variable_of(name) for name in Settings.model_fields}
    named = set(re.findall(r"AGENTMETRICS_[A-Z_]*[A-Z]", TEXTS[path]))
    assert named - settings - OF_PLUGINS == set()


@EVERY_TEXT
def test_a_command_is_one_that_the_command_line_takes(path: str) -> None:
    for typed in commands(TEXTS[path]):
        assert is_taken(typed), typed


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    assert not is_taken("agentmetrics ops exports DIR")
    assert not is_taken("agentmetrics cost --per day")
    assert sum(len(commands(text)) for text in PAGES.values()) > 10


@pytest.mark.parametrize("path", PAGES)
def test_a_class_or_function_in_a_runbook_exists(path: str) -> None:
    modules = (agentmetrics, langchain.agents.middleware, langchain_openai)
    alerts = {alert.name for alert in ALERTS}
    for name in re.findall(r"`(?:\w+\.with_\w+\(\[)?([A-Z]\w+)\b[^`=]*`", PAGES[path]):
        if not name.isupper() and "_" not in name and name not in alerts:
            assert any(hasattr(module, name) for module in modules), name
    for name in re.findall(r"`agentmetrics\.(\w+)", PAGES[path]):
        assert hasattr(agentmetrics, name), name
