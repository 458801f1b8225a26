"""Objectives in a TOML file, and what is said of one that cannot be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentmetrics.errors import ConfigurationError
from agentmetrics.operations.rules.objectives import Objective, Objectives, Within

DOCS = Path(__file__).parents[2] / "docs"
SHARE = "must be above 0 and below 1, to six digits, such as 0.99"
GOOD = """
[default]
availability = 0.995
latency = { share = 0.9, seconds = 10 }

[agents.reviewer]
availability = 0.9
first_token = { seconds = 2.5 }

[agents."the planner"]
latency = { share = 0.99 }
"""

pytestmark = pytest.mark.usefixtures("no_settings")


def written(directory: Path, text: str) -> Path:
    path = directory / "slo.toml"
    path.write_text(text)
    return path


def test_what_an_agent_does_not_state_is_as_in_the_default(tmp_path: Path) -> None:
    objectives = Objectives.from_toml(written(tmp_path, GOOD))
    assert objectives.default == Objective(0.995, Within(0.9, 10.0), Within(0.95, 5.0))
    assert objectives.agents == {
        "reviewer": Objective(0.9, Within(0.9, 10.0), Within(0.95, 2.5)),
        "the planner": Objective(0.995, Within(0.99, 10.0), Within(0.95, 5.0)),
    }


def test_the_docs_show_the_default_and_an_agent_of_its_own(tmp_path: Path) -> None:
    default, agent = re.findall(r"```toml\n(.*?)```", (DOCS / "alerts.md").read_text(), re.DOTALL)
    assert Objectives.from_toml(written(tmp_path, default)) == Objectives()
    own = Objectives.from_toml(written(tmp_path, default + agent)).agents
    assert own == {"reviewer": Objective(0.999, Within(0.95, 10.0), Within(0.95, 5.0))}


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert Objectives.from_toml(written(tmp_path, "")) == Objectives()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[default]\navailability = 1.5",
            "line 2: [default] availability=1.5: " + SHARE,
        ),
        (
            "[default]\navailability = 1",
            "line 2: [default] availability=1: " + SHARE,
        ),
        (
            "[agents.a]\navailability = true",
            "line 2: [agents.a] availability=True: " + SHARE,
        ),
        (
            "[agents.a]\nlatency = { share = 99 }",
            "line 2: [agents.a] latency.share=99: " + SHARE,
        ),
        (
            "[default]\nfirst_token = { seconds = 3 }",
            (
                "line 2: [default] first_token.seconds=3: must be an upper bound of a bucket of "
                "llm_time_to_first_token_seconds, one of 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, "
                "2.5, 5, 10, 30, 60; set AGENTMETRICS_BUCKETS if your service has other buckets"
            ),
        ),
        (
            "[default]\nlatency = 30",
            "line 2: [default] latency=30: write { share = 0.95, seconds = 30 }",
        ),
        (
            "[default]\nlatency = { p95 = 30 }",
            "line 2: [default] latency={'p95': 30}: write { share = 0.95, seconds = 30 }",
        ),
        (
            "[default]\navailabilty = 0.9",
            (
                "line 2: [default] has an unknown key 'availabilty': use one of availability, "
                "latency, first_token"
            ),
        ),
        (
            "[agent.a]\navailability = 0.9",
            "line 1: [agent] is not a known table: use [default] or [agents.NAME]",
        ),
        (
            "agents = 3",
            "line 1: [agents] must be a table: put each agent in [agents.NAME]",
        ),
        (
            "[agents]\na = 3",
            "line 2: [agents.a] must be a table with any of availability, latency, first_token",
        ),
        (
            '[agents.""]\navailability = 0.9',
            (
                "line 1: [agents.] '' cannot be the name of an agent: use 1 to 128 printable "
                "characters"
            ),
        ),
        ("[default", "line 1: expected ']' at the end of a table declaration"),
    ],
)
def test_a_mistake_is_one_sentence_that_begins_with_the_line(
    tmp_path: Path, text: str, sentence: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        Objectives.from_toml(path)
    assert str(caught.value) == f"{str(path)!r}: {sentence}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml': cannot be read: No such file"):
        Objectives.from_toml(tmp_path / "none.toml")


def test_seconds_are_a_bound_of_the_buckets_that_the_service_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTMETRICS_LATENCY_BUCKETS", "1,20,40")
    path = written(tmp_path, "[default]\nlatency = { seconds = 20 }")
    assert Objectives.from_toml(path).default.latency.seconds == 20
    with pytest.raises(ConfigurationError, match=r"latency.seconds=30.0: .* one of 1, 20, 40"):
        Objectives.from_toml(written(tmp_path, ""))
