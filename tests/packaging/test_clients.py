"""The examples of frameworks on a wrapped client, in an environment that has the frameworks.

They need other versions of the openai package than the tests of the core, so they have constraints
of their own: ``frameworks.txt``, for every Python that CI has.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.conftest import ROOT, Environment
from tests.services.wire import Answer, running_wire

EXAMPLES = ROOT / "examples" / "clients"
FRAMEWORKS = ("openai-agents", "pydantic-ai-slim[openai]", "llama-index-llms-openai")
TELL = """
import json
print(json.dumps([[*sample] for sample in recorder.samples()]))
"""


NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def printed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The lines that each example prints; all run at once, since each imports much."""
    environment = Environment(tmp_path_factory.mktemp("venv") / "frameworks")
    constraints = Path(__file__).with_name("frameworks.txt")
    environment.make(wheel, "prices", others=FRAMEWORKS, constraints=constraints)
    with running_wire() as wire, ThreadPoolExecutor() as pool:
        wire.always("gpt-4o-mini", Answer(fresh=1000, output=100))
        settings = {
            "OPENAI_API_KEY": "none",
            "OPENAI_BASE_URL": f"{wire.url}/v1",
            "OPENAI_AGENTS_DISABLE_TRACING": "1",
            "NO_PROXY": "*",
        }
        programs = [(EXAMPLES / name).read_text(encoding="utf-8") + TELL for name in NAMES]
        said = pool.map(lambda program: environment.run(program, **settings), programs)
        found = {name: text.splitlines() for name, text in zip(NAMES, said, strict=True)}
        assert wire.count(ended="success") == len(NAMES)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_example_counts_its_call_with_tokens_cost_and_the_agents_name(
    name: str, printed: dict[str, list[str]]
) -> None:
    *lines, told = printed[name]
    # 1000 at 0.15 and 100 at 0.60 USD per million
    assert lines == ["an answer of a few words", "1.0 0.00021"]
    samples = json.loads(told)
    assert _of(samples, "llm_calls_total", "status") == [["geographer", "success", 1.0]]
    assert _of(samples, "llm_tokens_total", "token_type") == [
        ["geographer", "input", 1000.0],
        ["geographer", "output", 100.0],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_read_at_a_glance(name: str) -> None:
    _docstring, *lines = filter(None, (EXAMPLES / name).read_text(encoding="utf-8").splitlines())
    assert len(lines) <= 10


def _of(samples: list[Any], name: str, label: str) -> list[list[object]]:
    return sorted(
        [labels["agent_name"], labels[label], value]
        for said, labels, value in samples
        if said == name and value
    )
