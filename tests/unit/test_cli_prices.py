"""``agentmetrics prices``: what it shows, and what it ends with, on good and on bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentmetrics.cli.app import app
from tests.unit.test_cli import on_a_terminal

pytestmark = pytest.mark.usefixtures("no_settings")

FILE = """
free_providers = ["lmstudio"]
[prices.openai."gpt-4o"]
input = 2
output = 8
cache_read = 0.5
service_tiers.flex = { input = 1, output = 4 }
[prices.voyage."my-embedder"]
input = 0.02
[aliases.azure]
prod = "gpt-4o-mini"
gone = { provider = "fireworks", model = "nothing" }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "prices.toml"
    file.write_text(FILE)
    return file


def run(*arguments: str, **environment: str) -> Result:
    environment = {"COLUMNS": "200", **environment}
    return CliRunner().invoke(app, ["prices", *arguments], env=environment)


def rates(done: Result) -> dict[str, list[str]]:
    """The rows of the table, by their first words."""
    rows = [line.split("  ") for line in done.stdout.split("\n\n")[1].splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows if any(row)]
    return {first: others for first, *others in cells}


class TestShow:
    def test_show_has_the_rates_where_they_are_from_and_what_the_name_means(self) -> None:
        done = run("show", "gpt-4o-2024-08-06", "--provider", "azure")
        assert (done.exit_code, done.stderr) == (0, "")
        asked, found = done.stdout.splitlines()[:2]
        assert asked == "gpt-4o-2024-08-06 (azure)"
        assert found.startswith("genai-prices ")
        assert found.endswith(": gpt-4o (openai)")
        assert rates(done)["input"] == ["2.5"]
        assert rates(done)["cache read"] == ["1.25"]
        assert rates(done)["audio input"] == ["unknown"]

    def test_show_has_a_column_for_each_size_of_the_input(self) -> None:
        done = run("show", "claude-sonnet-4-5")
        assert rates(done)["USD per million tokens"] == [
            "input ≤ 200,000",
            "input > 200,000",
        ]
        assert rates(done)["output"] == ["15", "22.5"]

    def test_show_looks_like_every_other_table(self) -> None:
        table = run("show", "gpt-4o").stdout.split("\n\n")[1].splitlines()
        assert table[0].startswith("USD per million tokens")
        assert [row.split()[0] for row in table if row.startswith(" ")] == []

    def test_show_has_the_fee_of_a_request_where_there_is_one(self) -> None:
        assert rates(run("show", "sonar"))["and USD per request"] == ["0.012"]
        assert "and USD per request" not in rates(run("show", "gpt-4o"))

    def test_show_has_the_rates_of_a_service_tier(self) -> None:
        done = run("show", "gpt-5", "--tier", "flex")
        assert done.stdout.startswith("gpt-5 (openai), tier flex\n")
        assert rates(done)["input"] == ["0.625"]

    def test_show_can_give_json(self) -> None:
        found = json.loads(run("show", "gemini-2.5-pro", "--json").stdout)
        assert found["source"].startswith("genai-prices ")
        assert {name: found[name] for name in found if name not in ("rates", "source")} == {
            "provider": "google",
            "model": "gemini-2.5-pro",
            "service_tier": "",
            "price_provider": "google",
            "price_model": "gemini-2.5-pro",
        }
        assert [
            (each["input_tokens_above"], each["usd_per_million_tokens"]["input"])
            for each in found["rates"]
        ] == [(0, 1.25), (200_000, 2.5)]
        assert found["rates"][0]["usd_per_request"] == 0

    @pytest.mark.parametrize(
        ("model", "provider"),
        [
            ("gpt-4o", "openai"),
            ("claude-haiku-4-5", "anthropic"),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "aws"),
            ("llama-3.3-70b-versatile", "groq"),
            ("accounts/fireworks/models/kimi-k2p5", "fireworks"),
        ],
    )
    def test_show_without_a_provider_takes_the_one_whose_model_it_is(
        self, model: str, provider: str
    ) -> None:
        assert json.loads(run("show", model, "--json").stdout)["provider"] == provider

    def test_show_asks_for_the_provider_where_it_may_be_several(self) -> None:
        done = run("show", "openai/gpt-oss-20b")
        assert done.exit_code == 1
        assert "several providers have a price for 'openai/gpt-oss-20b'" in done.stderr
        assert "; pass --provider with one of doubleword, groq, " in done.stderr

    def test_show_reads_the_users_own_prices_first(self, path: Path) -> None:
        own = {"AGENTMETRICS_PRICES_FILE": str(path)}
        assert "prices.toml: gpt-4o (openai)" in run("show", "gpt-4o", **own).stdout
        prod = run("show", "prod", **own).stdout.splitlines()
        assert prod[0] == "prod (azure)"
        assert prod[1].endswith(": gpt-4o-mini (openai)")
        free = run("show", "x", "--provider", "lmstudio", **own).stdout
        assert "free by declaration: x (lmstudio)" in free

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (["gpt-99"], "'gpt-99'"),
            (["gpt-99", "--provider", "openai"], "'gpt-99' (openai)"),
            (["gpt-4o", "--tier", "flex"], "'gpt-4o' (openai) in tier 'flex'"),
            (["ft:gpt-4o-2024-08-06:acme::id"], "'ft:gpt-4o-2024-08-06:acme::id'"),
        ],
    )
    @pytest.mark.parametrize("form", [[], ["--json"]])
    def test_show_of_an_unknown_price_ends_with_1_and_a_sentence(
        self, arguments: list[str], what: str, form: list[str]
    ) -> None:
        done = run("show", *arguments, *form)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            f"agentmetrics: no price found for {what}; "
            "add one to the file that AGENTMETRICS_PRICES_FILE names\n"
        )

    def test_show_with_a_mistake_in_the_file_ends_with_it(self, path: Path) -> None:
        path.write_text("[prices.openai.a]\ninput = 'x'")
        done = run("show", "gpt-4o", AGENTMETRICS_PRICES_FILE=str(path))
        assert done.exit_code == 1
        assert done.stderr.startswith(f"agentmetrics: AGENTMETRICS_PRICES_FILE='{path}': line 2: ")

    def test_show_without_the_extra_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "genai_prices", None)
        done = run("show", "gpt-4o")
        assert done.exit_code == 1
        assert done.stderr.endswith("pip install 'llm-agentmetrics[prices]'\n")


class TestCheck:
    def test_check_shows_what_the_file_says(self, path: Path) -> None:
        done = run("check", str(path))
        assert done.exit_code == 0
        rows = [line.split() for line in done.stdout.splitlines()]
        assert ["openai", "gpt-4o", "2", "8", "cache_read", "0.5"] in rows
        assert ["openai", "gpt-4o,", "tier", "flex", "1", "4"] in rows
        assert ["voyage", "my-embedder", "0.02"] in rows
        assert ["azure", "prod", "gpt-4o-mini", "(azure)"] in rows
        assert "Free: lmstudio" in done.stdout

    def test_check_shows_names_as_they_are_written(self, path: Path) -> None:
        path.write_text(
            '[prices.openai."m[/x]"]\ninput = 1\n[prices.openai."[b]a:apple:"]\ninput = 2'
        )
        done = run("check", str(path))
        assert done.exit_code == 0
        assert "m[/x]" in done.stdout
        assert "[b]a:apple:" in done.stdout

    def test_check_notes_an_alias_that_gives_no_price(self, path: Path) -> None:
        assert run("check", str(path)).stderr == (
            "note: gone (azure) is an alias of nothing (fireworks), which has no known price\n"
        )

    def test_check_can_give_json(self, path: Path) -> None:
        found = json.loads(run("check", str(path), "--json").stdout)
        assert (found["ok"], found["problems"], found["free_providers"]) == (
            True,
            [],
            ["lmstudio"],
        )
        assert found["prices"][:2] == [
            {"provider": "openai", "model": "gpt-4o", "service_tier": "",
             "input": 2.0, "output": 8.0, "cache_read": 0.5},
            {"provider": "openai", "model": "gpt-4o", "service_tier": "flex",
             "input": 1.0, "output": 4.0},
        ]  # fmt: skip
        assert found["aliases"][0] == {
            "provider": "azure",
            "model": "prod",
            "means": {"provider": "azure", "model": "gpt-4o-mini"},
        }

    def test_check_takes_the_file_from_the_environment(self, path: Path) -> None:
        assert run("check", AGENTMETRICS_PRICES_FILE=str(path)).exit_code == 0

    def test_check_of_an_empty_file_says_that_it_has_no_prices(self, path: Path) -> None:
        path.write_text("# nothing yet\n")
        assert run("check", str(path)).stdout == "The file defines no prices.\n"

    def test_check_of_a_mistake_ends_with_1_and_its_line(self, path: Path) -> None:
        path.write_text("[prices.openai.a]\ninput = 1\n[prices.openai.a]\ninput = 2\n")
        sentence = "line 3: [prices.openai.a] is defined twice"
        done = run("check", str(path))
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == f"agentmetrics: {path}: {sentence}\n"
        done = run("check", str(path), "--json")
        assert done.exit_code == 1
        assert json.loads(done.stdout) == {"ok": False, "problems": [sentence]}

    def test_check_of_a_file_that_is_not_there_ends_with_1_and_its_name(
        self, tmp_path: Path
    ) -> None:
        missing = tmp_path / "missing.toml"
        done = run("check", str(missing))
        assert done.exit_code == 1
        assert done.stderr == (
            f"agentmetrics: {missing}: cannot be read: No such file or directory\n"
        )

    def test_check_has_colours_on_a_terminal_alone(self, path: Path) -> None:
        assert "\x1b[" in on_a_terminal("prices", "check", str(path))
        assert "\x1b[" not in run("check", str(path)).stdout
