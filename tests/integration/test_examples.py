"""The examples as a reader runs them: processes of their own, asking a server on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.services.process import free_port, running
from tests.services.wire import Answer, Refusal, Wire

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(path.name for path in EXAMPLES.glob("*.py"))
MODEL, SERVED = "gpt-4o-mini", "gpt-4o-mini-2024-07-18"
_NOT_THEIRS = re.compile(
    r"(AGENTMETRICS|OPENAI|LANGSMITH|LANGCHAIN|PROMETHEUS)_.*|(HTTP|HTTPS|ALL)_PROXY|PORT",
    re.IGNORECASE,
)


def environment(wire: Wire, **more: str) -> dict[str, str]:
    """What a reader has set who asks a server of their own."""
    plain = {name: text for name, text in os.environ.items() if not _NOT_THEIRS.fullmatch(name)}
    mine = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{wire.url}/v1", "NO_PROXY": "*"}
    return {**plain, **mine, "PYTHONUNBUFFERED": "1", **more}


def printed(name: str, wire: Wire, logged: str = "", **more: str) -> list[str]:
    """The lines that an example prints; it must end well, and log this and no more."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        env=environment(wire, **more),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, logged)
    return done.stdout.splitlines()


def test_a_plain_chain_prints_both_calls_with_their_tokens_and_cost(wire: Wire) -> None:
    wire.script(MODEL, Answer(fresh=1000, output=100), Answer("a stream", fresh=2000, output=200))
    assert printed("plain_langchain.py", wire) == [
        "an answer of a few words",
        "a stream ",
        # 3000 at 0.15 and 300 at 0.60 USD per million
        "2 calls, 3300 tokens, 0.000630 USD, 0 unpriced",
        "2 latencies and 1 time to first token observed",
    ]
    assert wire.count(ended="success") == 2


def test_a_model_that_is_in_no_price_list_is_unpriced_and_not_free(wire: Wire) -> None:
    wire.always("house-model", Answer(fresh=10, output=5))
    logged = "no price found for house-model (openai); its calls are counted as unpriced\n"
    lines = printed("plain_langchain.py", wire, logged, OPENAI_MODEL="house-model")
    assert "2 calls, 30 tokens, 0.000000 USD, 2 unpriced" in lines


def test_two_agents_are_told_apart_with_their_tools_and_tokens(wire: Wire) -> None:
    wire.script(
        MODEL,
        Answer(tools=(("look_up", {"subject": "latency"}),), fresh=100, output=10),
        Answer("Measure it.", fresh=200, output=20),
        Answer(tools=(("count_words", {"text": "Measure it."}),), fresh=300, output=30),
        Answer("Two words.", fresh=400, output=40),
    )
    assert printed("langgraph_agents.py", wire) == [
        "Two words.",
        "researcher: runs=1 calls=2 tools=1 tokens=330",
        "writer: runs=1 calls=2 tools=1 tokens=770",
    ]


def test_without_a_framework_a_success_and_an_error_are_told_apart(wire: Wire) -> None:
    wire.script(MODEL, Answer("It goes up and down.", fresh=20, output=8))
    wire.script("no-such-model", Refusal(404, "model_not_found"))
    answer, refused, *recorded = printed("no_framework.py", wire)
    assert answer == "It goes up and down."
    assert refused == "refused with 404"
    values = {}
    for line in recorded:
        name, *labels, value = line.split(" ")
        told = dict(label.split("=") for label in labels)
        assert told.pop("agent_name") == "asker"
        assert told.pop("provider") == "openai"
        told.pop("model")
        key = (name, *told.values())
        values[key] = float(value)
    assert values == {
        ("llm_calls_total", "success"): 1,
        ("llm_calls_total", "error"): 1,
        ("llm_errors_total", "invalid_request"): 1,
        ("llm_tokens_total", "input"): 20,
        ("llm_tokens_total", "output"): 8,
        ("llm_cost_usd_total",): 7.8e-06,
    }


@pytest.fixture
def shop(wire: Wire, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """The FastAPI example: its address, its process, and the file with what it prints."""
    port, log = free_port(), tmp_path / "fastapi_app.log"
    env = environment(wire, PORT=str(port))
    with running(
        [sys.executable, str(EXAMPLES / "fastapi_app.py")], port=port, log=log, env=env
    ) as process:
        yield f"http://127.0.0.1:{port}", process, log


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def get(url: str) -> str:
    """The body of a 200; any other answer, a redirect too, is an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    with opener.open(url, timeout=60) as response:
        assert response.status == 200
        return response.read().decode()


def test_a_fastapi_service_answers_and_serves_its_metrics_at_metrics(
    shop: tuple[str, subprocess.Popen[bytes], Path], wire: Wire
) -> None:
    url, process, log = shop
    wire.script(
        MODEL,
        Answer(tools=(("opening_hours", {"day": "Monday"}),), fresh=100, output=10),
        Answer("From 9 to 18.", fresh=200, output=20),
    )
    question = urllib.parse.urlencode({"question": "When do you open on Monday?"})
    assert get(f"{url}/ask?{question}") == '"From 9 to 18."'

    families = text_string_to_metric_families(get(f"{url}/metrics"))
    counted = {
        (sample.name, *(sample.labels.get(label, "") for label in ("status", "token_type"))): (
            sample.value
        )
        for family in families
        for sample in family.samples
        if sample.labels.get("agent_name") == "clerk" and family.type == "counter"
    }
    assert (
        counted.items()
        >= {
            ("llm_calls_total", "success", ""): 2,
            ("llm_tokens_total", "", "input"): 300,
            ("llm_tokens_total", "", "output"): 30,
            ("tool_executions_total", "success", ""): 1,
            ("agent_runs_total", "success", ""): 1,
        }.items()
    )

    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    said = log.read_text()
    assert re.search(
        r'^agent_runs_total\{agent_name="clerk",status="success"\} 1\.0$', said, re.MULTILINE
    )


def test_the_readme_of_the_examples_names_every_file_and_no_other() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    assert FILES
    assert sorted(set(re.findall(r"`(\w+\.py)`", readme))) == FILES
    commands = re.findall(r"^\$ python examples/(\S+)$", readme, re.MULTILINE)
    assert sorted(commands) == FILES


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_short_and_takes_public_names_only(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert len(text.splitlines()) <= 48
    imported = re.findall(r"^(?:from|import) (agentmetrics[\w.]*)", text, re.MULTILINE)
    assert imported
    assert set(imported) <= {"agentmetrics", "agentmetrics.exposition"}
