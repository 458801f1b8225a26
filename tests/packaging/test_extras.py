"""What works with which extra, in environments that have no other, and what the others are told."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.conftest import ROOT, Environment, run

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXTRAS = ("prometheus", "statsd", "langchain", "prices", "cli", "ledger", "ops", "top")
NEEDED = {
    "InstrumentedCache": "langchain",
    "InstrumentedEmbeddings": "langchain",
    "InstrumentedRemoteGraph": "langchain",  # and langgraph, which is in no extra
    "InstrumentedReranker": "langchain",
    "Ledger": "ledger",
    "MetricsCallbackHandler": "langchain",
    "PrometheusRecorder": "prometheus",
    "StatsDRecorder": "statsd",
    "instrument": "langchain",
    "push": "prometheus",
    "push_add": "prometheus",
    "push_delete": "prometheus",
}
"""The public names that need an extra."""
HAS_TOO = {"top": "prometheus"}
"""``top`` reads expositions with prometheus-client."""
# The shape of OpenAI's chat completions, which is what the README's example awaits.
RESPONSE = {
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
}

Environments = Callable[[str], Environment]


def readme_block(having: str) -> str:
    """The one Python example of the README that has this in it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if having in b)
    return str(block)


def indented(code: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in code.splitlines())


TRACKED_CALL = f"""
import asyncio
from types import SimpleNamespace

async def create(*_):
    return {RESPONSE!r}

client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))

async def program():
{indented(readme_block("track_call("))}
asyncio.run(program())
"""
"""The README's block around a call, with a client that answers at once."""


@pytest.mark.parametrize("extra", ["", *EXTRAS, "all"])
class TestWithEachExtra:
    def test_the_readme_works(self, environment: Environments, extra):
        read = readme_block("recorder.value(")
        told = environment(extra).run(
            f"{TRACKED_CALL}\n{read}\n"
            "import json\n"
            "print(agentmetrics.__file__)\n"
            "names = ('llm_calls_total', 'llm_tokens_total', 'llm_unpriced_calls_total')\n"
            "print(json.dumps([recorder.value(name) for name in names]))\n"
            "print(recorder.value('llm_cost_usd_total'))\n"
        )
        file, values, cost = told.splitlines()
        assert file.startswith(str(environment(extra).python.parents[1]))
        has_prices = extra in ("prices", "all")
        assert json.loads(values) == [1, 1200, 0 if has_prices else 1]
        # 1000 tokens at 0.15 and 200 at 0.60 USD a million
        assert float(cost) == pytest.approx(0.00027 if has_prices else 0)

    def test_names_of_other_extras_say_what_to_install(self, environment: Environments, extra):
        told = environment(extra).run(
            "import agentmetrics, json\n"
            "told = {}\n"
            "for name in agentmetrics.__all__:\n"
            "    try:\n"
            "        getattr(agentmetrics, name)\n"
            "    except ModuleNotFoundError as error:\n"
            "        told[name] = str(error)\n"
            "print(json.dumps(told))\n"
        )
        there = (extra, HAS_TOO.get(extra))
        missing = {} if extra == "all" else {n: e for n, e in NEEDED.items() if e not in there}
        said = json.loads(told)
        if extra in ("langchain", "all"):
            assert said.pop("InstrumentedRemoteGraph").endswith(": pip install 'langgraph'")
        assert set(said) == set(missing)
        for name, other in missing.items():
            assert said[name].startswith(f"{name} needs the package ")
            assert said[name].endswith(f": pip install 'llm-agentmetrics[{other}]'")

    def test_the_command_line_works_or_says_what_to_install(self, environment: Environments, extra):
        done = environment(extra).command("check")
        if extra in ("cli", "ops", "top", "all"):
            assert (done.returncode, done.stderr) == (0, "")
            assert "memory" in done.stdout
        else:
            assert done.returncode == 1
            assert "pip install 'llm-agentmetrics[cli]'" in done.stderr

    def test_pip_finds_nothing_broken(self, environment: Environments, extra):
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        told = run(*pip, "--python", environment(extra).python, "check")
        assert told.endswith("No broken requirements found.")


class TestTheCore:
    def test_the_core_needs_nothing_of_the_extras_or_of_the_tests(self, environment: Environments):
        with (ROOT / "pyproject.toml").open("rb") as file:
            project = tomllib.load(file)
        extras = [
            r for extra in project["project"]["optional-dependencies"].values() for r in extra
        ]
        groups = [
            requirement
            for group in project["dependency-groups"].values()
            for requirement in group
            if isinstance(requirement, str)
        ]
        others = {canonicalize_name(Requirement(text).name) for text in (*extras, *groups)}
        installed = environment("").installed()
        assert {"llm-agentmetrics", "anyio"} <= installed
        own = {"llm-agentmetrics", "packaging"}  # the second is lazy-loader's
        assert installed & (others - own) == set()

    def test_extra_all_is_all_of_them(self):
        needs = [Requirement(text) for text in requires("llm-agentmetrics") or ()]

        def of(extra: str) -> set[str]:
            return {n.name for n in needs if n.marker and n.marker.evaluate({"extra": extra})}

        assert of("all") == set().union(*map(of, EXTRAS))

    def test_a_ledger_in_postgresql_without_its_driver_says_what_to_install(
        self, environment: Environments
    ):
        told = environment("ledger").run(
            "import agentmetrics\n"
            "try:\n"
            "    agentmetrics.get_recorder()\n"
            "except agentmetrics.ConfigurationError as error:\n"
            "    print(error)\n",
            AGENTMETRICS_LEDGER_URL="postgresql://joe@host/spend",
        )
        assert told.endswith("pip install 'llm-agentmetrics[postgres]'")

    @pytest.mark.parametrize("backend", ["prometheus", "statsd"])
    def test_a_backend_without_its_extra_says_what_to_install(
        self, environment: Environments, backend
    ):
        told = environment("").run(
            "import agentmetrics\n"
            "try:\n"
            "    agentmetrics.get_recorder()\n"
            "except agentmetrics.ConfigurationError as error:\n"
            "    print(error)\n",
            AGENTMETRICS_BACKEND=backend,
        )
        assert told.startswith(f"AGENTMETRICS_BACKEND='{backend}'")
        assert told.endswith(f"pip install 'llm-agentmetrics[{backend}]'")

    def test_a_ledger_without_its_extra_says_what_to_install(self, environment: Environments):
        told = environment("").run(
            "import agentmetrics\n"
            "try:\n"
            "    agentmetrics.get_recorder()\n"
            "except agentmetrics.ConfigurationError as error:\n"
            "    print(error)\n",
            AGENTMETRICS_LEDGER_URL="sqlite:///spend.db",
        )
        assert told.endswith("pip install 'llm-agentmetrics[ledger]'")


@pytest.mark.parametrize("extras", ["prometheus", "all"])
def test_prometheus_exposes_what_was_recorded(environment: Environments, extras):
    told = environment(extras).run(
        f"{TRACKED_CALL}\n"
        "import prometheus_client\n"
        "print(prometheus_client.generate_latest().decode())\n",
        AGENTMETRICS_BACKEND="prometheus",
    )
    calls = [line for line in told.splitlines() if line.startswith("llm_calls_total{")]
    (success,) = (line for line in calls if 'status="success"' in line)
    assert success.endswith(" 1.0")
    assert all(line.endswith(" 0.0") for line in calls if line != success)


@pytest.mark.parametrize("extras", ["statsd", "all"])
def test_statsd_sends_what_was_recorded(environment: Environments, extras):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(10)
        environment(extras).run(
            TRACKED_CALL,
            AGENTMETRICS_BACKEND="statsd",
            AGENTMETRICS_STATSD_HOST="127.0.0.1",
            AGENTMETRICS_STATSD_PORT=str(daemon.getsockname()[1]),
        )
        assert re.search(rb"^llm_calls_total\.\S+:1\|c$", daemon.recv(65536), re.MULTILINE)


@pytest.mark.parametrize("extras", ["langchain", "all"])
def test_one_object_records_langchain(environment: Environments, extras):
    told = environment(extras).run(
        "from langchain_core.language_models import FakeListChatModel\n"
        "chain, x = FakeListChatModel(responses=['hello']), 'hi'\n"
        f"{readme_block('MetricsCallbackHandler()')}\n"
        "import agentmetrics\n"
        "print(agentmetrics.get_recorder().value('llm_calls_total', status='success'))\n"
    )
    assert told == "1.0"


@pytest.mark.parametrize("extras", ["ledger", "all"])
def test_a_ledger_keeps_what_was_recorded(environment: Environments, tmp_path, extras):
    url = f"sqlite:///{tmp_path / 'spend.db'}"
    told = environment(extras).run(
        f"{TRACKED_CALL}\n"
        "import agentmetrics\n"
        "print(agentmetrics.get_ledger().summary('daily').total.calls)\n",
        AGENTMETRICS_LEDGER_URL=url,
    )
    assert told == "1"
    if extras == "all":  # what reads it is of the extra cli
        done = environment(extras).command("cost", "--json", AGENTMETRICS_LEDGER_URL=url)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["total"]["calls"] == 1
        page = tmp_path / "cost.html"
        done = environment(extras).command("cost", "--html", str(page), AGENTMETRICS_LEDGER_URL=url)
        assert (done.returncode, done.stderr) == (0, "")
        assert b"</html>" in page.read_bytes()  # and so its style was in the wheel
        done = environment(extras).command("cost", "--png", "cost.png", AGENTMETRICS_LEDGER_URL=url)
        assert done.stderr.endswith("install it with: pip install 'llm-agentmetrics[png]'\n")


@pytest.mark.parametrize("extras", ["ops", "all"])
def test_the_operations_kit_is_exported(environment: Environments, tmp_path, extras):
    done = environment(extras).command("ops", "export", str(tmp_path / "kit"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    for path in json.loads(done.stdout)["files"]:
        assert (tmp_path / "kit" / path).is_file()


def test_the_operations_kit_without_its_extra_says_what_to_install(environment: Environments):
    done = environment("cli").command("ops", "rules")
    assert done.returncode == 1
    assert done.stderr.endswith("install it with: pip install 'llm-agentmetrics[ops]'\n")
