"""What the commands say, and what they end with, on good and on bad input."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentmetrics import MemoryRecorder, backends, cli
from agentmetrics.cli.app import app
from agentmetrics.config.loading import variable_of
from agentmetrics.config.settings import Settings
from tests.services.plugins import backend_names
from tests.services.receiver import Receiver

pytestmark = pytest.mark.usefixtures("no_settings")


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


def in_a_process(*arguments: str, lines: str = "", **environment: str) -> tuple[int, str, str]:
    """A fresh interpreter, which first runs ``lines``: exit status, standard output, error."""
    program = f"import sys\n{lines}\nfrom agentmetrics.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


# The program


def test_the_version_is_shown() -> None:
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"agentmetrics {version('llm-agentmetrics')}\n")


def test_help_names_every_command() -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert {"demo", "check", "serve"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    "start", [["-m", "agentmetrics.cli"], ["-c", "import agentmetrics.cli as c; c.main()"]]
)
def test_the_module_runs_as_the_script_does(start: list[str]) -> None:
    done = subprocess.run([sys.executable, *start, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("agentmetrics ")


def test_ctrl_c_while_the_command_line_is_loaded_shows_no_traceback() -> None:
    lines = """
class Interrupted:
    def find_spec(self, name, *rest):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
"""
    assert in_a_process("check", lines=lines) == (130, "", "")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_the_cli_extra_the_command_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name == package or name.startswith((f"{package}.", "agentmetrics.cli.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == (
        f"agentmetrics: the command line needs the package '{package}'; "
        "install it with: pip install 'llm-agentmetrics[cli]'"
    )


@pytest.mark.parametrize("package", ["langgraph", "langchain_openai", "uvicorn", "genai_prices"])
def test_without_the_demo_extra_the_command_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = run("demo")
    assert done.exit_code == 1
    assert done.stderr == (
        f"agentmetrics: this command needs the package '{package}'; "
        "install it with: pip install 'llm-agentmetrics[demo]'\n"
    )


# check


def test_check_of_an_empty_environment_is_fine() -> None:
    done = run("check")
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.search(r"AGENTMETRICS_BACKEND +memory \(default\)", done.stdout)
    assert re.search(r"memory +keeps every value in the process.* ok", done.stdout)


def test_check_cuts_nothing_on_a_narrow_terminal() -> None:
    assert "…" not in run("check", COLUMNS="30").stdout


def test_check_shows_values_as_they_are_written() -> None:
    done = run("check", AGENTMETRICS_COMMON_LABELS="team=[/x],fruit=a:apple:b", COLUMNS="200")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "team=[/x],fruit=a:apple:b" in done.stdout


def test_check_lists_every_setting_as_its_variable() -> None:
    found = json.loads(run("check", "--json", AGENTMETRICS_COMMON_LABELS="env=prod,az=1").stdout)
    assert found["ok"] is True
    by_variable = {setting["variable"]: setting for setting in found["settings"]}
    assert set(by_variable) == {variable_of(name) for name in Settings.model_fields}
    assert by_variable["AGENTMETRICS_COMMON_LABELS"]["value"] == "env=prod,az=1"
    assert by_variable["AGENTMETRICS_COMMON_LABELS"]["is_default"] is False
    assert by_variable["AGENTMETRICS_MAX_SERIES"]["is_default"] is True


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("BACKEND", "promethues", f"use one of {backend_names()}"),
        ("BACKEND", "memory,memory", "each only once"),
        ("BACKEND", ",", "at least one backend"),
        ("STATSD_PORT", "none", "valid integer"),
        ("STATSD_PORT", "99999", "less than or equal to 65535"),
        ("STATSD_PROTOCOL", "icmp", "'udp' or 'tcp'"),
        ("STATSD_FLUSH_INTERVAL", "0", "greater than 0"),
        ("LATENCY_BUCKETS", "2,1", "increasing order"),
        ("LATENCY_BUCKETS", "1,x", "valid number"),
        ("EXTRA_LABELS", "1st", "letters, digits and underscores"),
        ("EXTRA_LABELS", "agent_name", "is already a label"),
        ("COMMON_LABELS", "env", "name=value"),
        ("NAMESPACE", "a-b", "letters, digits and underscores"),
        ("MAX_SERIES", "0", "greater than or equal to 1"),
    ],
)
def test_check_of_a_bad_setting_is_one_sentence(variable: str, value: str, allowed: str) -> None:
    done = run("check", **{f"AGENTMETRICS_{variable}": value})
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert f"AGENTMETRICS_{variable}" in done.stderr
    assert allowed in done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_check_tells_a_program_what_is_wrong_too() -> None:
    done = run("check", "--json", AGENTMETRICS_BACKEND="graphite")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["ok"]) == (1, False)
    assert "'graphite'" in found["problems"][0]


def test_check_points_at_a_misspelt_variable() -> None:
    done = run("check", AGENTMETRICS_BACKENDS="statsd")
    assert done.exit_code == 1
    assert done.stderr == (
        "agentmetrics: AGENTMETRICS_BACKENDS is set but is not a setting: "
        "did you mean AGENTMETRICS_BACKEND?\n"
    )


def test_check_tells_every_mistake() -> None:
    done = run(
        "check",
        AGENTMETRICS_BACKEND="Prometheus",
        AGENTMETRICS_NAMESPACE="my-app",
        AGENTMETRICS_X="1",
    )
    assert done.exit_code == 1
    first, second, third = done.stderr.splitlines()
    assert first.endswith("did you mean 'prometheus'?")
    assert second.endswith("; write 'my_app'")
    assert third.startswith(
        "agentmetrics: AGENTMETRICS_X is set but is not a setting; use one of AGENT"
    )


def test_check_of_prometheus_says_where_the_series_go() -> None:
    code, said, complaints = in_a_process("check", AGENTMETRICS_BACKEND="prometheus")
    assert (code, complaints) == (0, "")
    assert "default registry" in said


def test_check_of_several_backends_says_what_each_does() -> None:
    found = json.loads(run("check", "--json", AGENTMETRICS_BACKEND="noop,memory").stdout)
    does = {backend["name"]: backend["does"] for backend in found["backends"]}
    assert does["noop"] == "records nothing"
    assert does["memory"].startswith("keeps every value in the process")


def test_check_finds_a_metric_name_that_is_taken() -> None:
    code, _, complaints = in_a_process(
        "check",
        lines="from prometheus_client import Counter\nCounter('llm_calls', 'of somebody else')",
        AGENTMETRICS_BACKEND="prometheus",
    )
    assert code == 1
    assert "AGENTMETRICS_BACKEND='prometheus': llm_calls_total is already on this" in complaints
    assert complaints.count("\n") == 1


def test_check_finds_out_whether_the_multiprocess_directory_is_there(tmp_path: Path) -> None:
    environment = {"AGENTMETRICS_BACKEND": "prometheus", "COLUMNS": "300"}
    code, said, _ = in_a_process("check", **environment, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert code == 0
    assert f"writes to {tmp_path}" in said
    missing = str(tmp_path / "missing")
    code, _, complaints = in_a_process("check", **environment, PROMETHEUS_MULTIPROC_DIR=missing)
    assert code == 1
    assert complaints.count("\n") == 1
    assert f"PROMETHEUS_MULTIPROC_DIR='{missing}' must be an existing directory" in complaints


@pytest.mark.parametrize(
    ("budget", "holds"),
    [
        ("", "warn"),
        ('action = "block"', "is under way or other processes spend within 5 s"),
        ('action = "block"\nreserve = "max_tokens"', "by what other processes spend within 5 s"),
        (
            'action = "block"\nreserve = "max_tokens"\nreserve_in = "ledger"',
            "block; processes overspend nothing",
        ),
    ],
)
def test_check_says_how_far_a_budget_may_be_overspent(
    budget: str, holds: str, tmp_path: Path
) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text(f"[budgets.team]\nlimit_usd = 50\n{budget}\n")
    url = f"sqlite:///{tmp_path / 'spend.db'}"
    files = {"AGENTMETRICS_BUDGETS_FILE": str(path), "AGENTMETRICS_LEDGER_URL": url}
    done = run("check", "--json", **files)
    assert json.loads(done.stdout)["backends"][-1]["does"].endswith(f"{holds})")


def test_check_of_budgets_names_them_and_finds_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "budgets.toml"
    path.write_text('[budgets.team]\nlimit_usd = 50\naction = "block"\n')
    done = run("check", "--json", AGENTMETRICS_BUDGETS_FILE=str(path))
    assert json.loads(done.stdout)["backends"][-1]["does"].endswith(
        ": team (block; each process by itself)"
    )
    path.write_text("[budgets.team]\nlimit_usd = -1\n")
    done = run("check", AGENTMETRICS_BUDGETS_FILE=str(path))
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "AGENTMETRICS_BUDGETS_FILE=" in done.stderr
    assert "limit_usd=-1" in done.stderr


class TestNotices:
    FILE = """
        notify = ["webhook:HOOK"]
        [budgets.team]
        limit_usd = 50
        [budgets.firm]
        limit_usd = 1000
        notify = ["webhook:HOOK", "slack:SLACK_URL"]
    """

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        path = tmp_path / "budgets.toml"
        path.write_text(self.FILE)
        return str(path)

    def test_check_of_notices_says_where_they_go_and_sends_none(
        self, file: str, receiver: Receiver
    ) -> None:
        variables = {"HOOK": receiver.url, "SLACK_URL": receiver.url}
        done = run("check", "--json", AGENTMETRICS_BUDGETS_FILE=file, **variables)
        assert [one["does"] for one in json.loads(done.stdout)["backends"][-2:]] == [
            "sends notices of team, firm to webhook:HOOK",
            "sends notices of firm to slack:SLACK_URL",
        ]
        assert done.exit_code == 0
        assert "s3cret" not in done.output
        assert not receiver.received

    def test_check_of_notices_finds_a_variable_that_is_not_set(
        self, file: str, receiver: Receiver
    ) -> None:
        done = run("check", AGENTMETRICS_BUDGETS_FILE=file, HOOK=receiver.url)
        assert done.exit_code == 1
        assert done.stderr == (
            "agentmetrics: notify='slack:SLACK_URL': the environment variable SLACK_URL is not "
            "set\n"
        )

    def test_check_of_notices_sends_a_test_message_when_asked_to(
        self, file: str, receiver: Receiver
    ) -> None:
        variables = {"HOOK": receiver.url, "SLACK_URL": f"{receiver.url}/slack"}
        done = run("check", "--notify", AGENTMETRICS_BUDGETS_FILE=file, **variables)
        assert done.exit_code == 0, done.stderr
        hook, slack = receiver.take(2)
        assert (hook["kind"], hook["budget"], hook["threshold"]) == ("test", "team", None)
        assert slack == {
            "text": 'This is a test: notices of the daily budget "firm" will arrive here.'
        }

    @pytest.mark.parametrize("budgets", [None, "[budgets.team]\nlimit_usd = 5\n"])
    def test_check_says_when_there_was_nobody_to_send_a_test_message_to(
        self, tmp_path: Path, budgets: str | None
    ) -> None:
        variables = {}
        if budgets is not None:
            file = tmp_path / "budgets.toml"
            file.write_text(budgets)
            variables["AGENTMETRICS_BUDGETS_FILE"] = str(file)
        done = run("check", "--notify", **variables)
        assert done.exit_code == 0
        assert done.stderr == (
            "note: nothing was sent: no budget in AGENTMETRICS_BUDGETS_FILE names a destination\n"
        )

    def test_check_of_notices_says_what_came_of_a_test_message(
        self, file: str, receiver: Receiver
    ) -> None:
        receiver.answers.append(404)
        variables = {"HOOK": receiver.url, "SLACK_URL": receiver.url}
        done = run("check", "--notify", AGENTMETRICS_BUDGETS_FILE=file, **variables)
        assert done.exit_code == 1
        assert done.stderr == ("agentmetrics: notify='webhook:HOOK': it answered with status 404\n")


PROTOCOLS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


@contextmanager
def listening(protocol: str = "tcp") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, PROTOCOLS[protocol]) as bound:
        bound.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            bound.listen()
        yield bound


def port_of(bound: socket.socket) -> str:
    return str(bound.getsockname()[1])


def statsd_at(port: str, protocol: str) -> dict[str, str]:
    return {
        "AGENTMETRICS_STATSD_HOST": "127.0.0.1",
        "AGENTMETRICS_STATSD_PORT": port,
        "AGENTMETRICS_STATSD_PROTOCOL": protocol,
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_check_reaches_a_statsd_daemon(protocol: str) -> None:
    with listening(protocol) as daemon:
        port = port_of(daemon)
        done = run("check", AGENTMETRICS_BACKEND="statsd", **statsd_at(port, protocol))
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"sends to {protocol}://127.0.0.1:{port} every 1 s" in done.stdout


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_check_sends_no_metrics_to_the_daemon(protocol: str) -> None:
    with listening(protocol) as daemon:
        in_a_process("check", AGENTMETRICS_BACKEND="statsd", **statsd_at(port_of(daemon), protocol))
        daemon.setblocking(False)
        said = b""
        try:
            while True:
                if protocol == "udp":
                    said += daemon.recv(2000)
                else:
                    with daemon.accept()[0] as connection:
                        said += connection.recv(2000)
        except BlockingIOError:
            pass
    assert said == b""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_check_says_where_no_statsd_daemon_is(protocol: str) -> None:
    with listening(protocol) as daemon:
        port = port_of(daemon)  # and gone again
    code, said, complaints = in_a_process(
        "check", AGENTMETRICS_BACKEND="memory,statsd", **statsd_at(port, protocol)
    )
    assert code == 1
    assert complaints.startswith("agentmetrics: AGENTMETRICS_BACKEND='statsd': ")
    assert f"127.0.0.1:{port}" in complaints
    assert complaints.count("\n") == 1
    assert re.search(r"memory .* ok", said)
    assert re.search(r"statsd .* fails", said)


def test_check_says_which_statsd_host_does_not_resolve() -> None:
    done = run("check", AGENTMETRICS_BACKEND="statsd", STATSD_HOST="nowhere.invalid")
    assert done.exit_code == 1
    assert "'nowhere.invalid' does not resolve" in done.stderr


def test_check_says_what_to_install_for_a_backend_without_its_package() -> None:
    code, _, complaints = in_a_process(
        "check", lines="sys.modules['statsd'] = None", AGENTMETRICS_BACKEND="statsd"
    )
    assert code == 1
    assert "pip install 'llm-agentmetrics[statsd]'" in complaints
    assert complaints.count("\n") == 1


class Carrier(MemoryRecorder):
    """A third party's backend, whose connection is down."""

    def probe(self, timeout_seconds: float) -> str | None:
        return "the pigeon is ill"


def test_check_probes_the_backend_of_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("pigeon", "tests.unit.test_cli:Carrier", backends.GROUP)
    monkeypatch.setattr(backends, "available", lambda: {"pigeon": point})
    done = run("check", AGENTMETRICS_BACKEND="pigeon")
    assert done.exit_code == 1
    assert "comes from tests.unit.test_cli:Carrier" in done.stdout
    assert done.stderr == "agentmetrics: AGENTMETRICS_BACKEND='pigeon': the pigeon is ill\n"


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    here, there = pty.openpty()
    command = [sys.executable, "-m", "agentmetrics.cli", *arguments]
    base = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        command, stdout=there, stderr=there, env={**base, "TERM": "xterm-256color", **environment}
    )
    os.close(there)
    said = b""
    try:
        while chunk := os.read(here, 65536):
            said += chunk
    except OSError:  # how Linux says that the other side was closed
        pass
    os.close(here)
    process.wait()
    return said.decode()


def test_colours_are_for_terminals_and_not_with_no_color() -> None:
    green, red = "\x1b[32mok", "\x1b[1;31magentmetrics:"
    assert green in on_a_terminal("check")
    assert red in on_a_terminal("check", AGENTMETRICS_BACKEND="x")
    assert "\x1b[32m" not in on_a_terminal("check", NO_COLOR="1")
    assert "\x1b[" not in run("check").stdout


# serve


def test_serve_without_a_directory_says_how_to_give_one() -> None:
    done = run("serve")
    assert done.exit_code == 2
    assert done.stderr == (
        "agentmetrics: pass the directory to serve, or set PROMETHEUS_MULTIPROC_DIR\n"
    )


def test_serve_refuses_what_is_no_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = run("serve", str(file))
    assert done.exit_code == 1
    assert done.stderr == (
        f"agentmetrics: '{file}' is not a directory: pass the one that the processes write to\n"
    )


def test_serve_takes_the_directory_from_the_environment(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert (
        f"'{missing}' is not a directory" in run("serve", PROMETHEUS_MULTIPROC_DIR=missing).stderr
    )


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_port_in_use_is_one_sentence(command: str, tmp_path: Path) -> None:
    what = [str(tmp_path)] if command == "serve" else ["--serve"]
    with listening() as other:
        port = port_of(other)
        done = run(command, *what, "--port", port)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"agentmetrics: cannot serve metrics on 127.0.0.1:{port}: "
        "the port is in use; choose another\n"
    )


@pytest.mark.parametrize("command", [["serve", "."], ["demo", "--serve"]])
@pytest.mark.parametrize("port", ["x", "70000", "-1"])
def test_a_port_that_is_none_is_refused(command: list[str], port: str) -> None:
    done = run(*command, f"--port={port}")
    assert done.exit_code == 2
    assert "--port" in done.stderr


@pytest.mark.parametrize("option", ["--serve", "--stack"])
def test_demo_is_for_people_or_for_programs(option: str) -> None:
    done = run("demo", option, "--json")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert f"use --json without {option}" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk to write to")
@pytest.mark.parametrize("command", ["check", "--help"])
def test_output_that_cannot_be_written_is_one_sentence(command: str) -> None:
    program = "from agentmetrics.cli import main; main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program, command], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "agentmetrics: cannot write its output: No space left on device\n"
