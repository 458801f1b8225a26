"""``agentmetrics top``: what it prints, what it draws, what it says of sources that are none."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner, Result

from agentmetrics import Ledger, MemoryRecorder, Namespace, catalog, track_call, track_run
from agentmetrics.cli.app import app
from agentmetrics.cli.top import feeds as feeding
from agentmetrics.cli.top import fetching, once
from agentmetrics.cli.top import sources as reading
from agentmetrics.cli.top.fields import AGENT_FIELDS, ORDERS, arranged, lines
from agentmetrics.cli.top.glyphs import ASCII, UNICODE, Glyphs
from agentmetrics.cli.top.help import HELP
from agentmetrics.cli.top.last_runs import RunsOfUrl
from agentmetrics.cli.top.sources import Url, source_of
from agentmetrics.live.build import view
from agentmetrics.live.last_runs import Run
from agentmetrics.live.samples import from_exposition, from_recorder
from agentmetrics.live.watch import Watch
from tests.unit.programs_seen import opened, record, served

pytestmark = pytest.mark.usefixtures("no_settings")

DEADLINE = 30.0


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["top", *arguments], env=environment)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """The URL of a server that does this with every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def saying(
    body: str, status: int = 200, length: int | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(length or len(body)))
        request.end_headers()
        request.wfile.write(body.encode())

    return answer


def in_other_words(request: BaseHTTPRequestHandler) -> None:
    """A status with a reason that makes a terminal red."""
    request.wfile.write(b"HTTP/1.0 418 \x1b[31mred\r\nContent-Length: 0\r\n\r\n")


def in_a_circle(request: BaseHTTPRequestHandler) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.end_headers()


# Once


def test_without_a_terminal_the_table_is_printed_once() -> None:
    with served() as (recorder, server):
        record(recorder, "planner", 3)
        opened(recorder, "planner", 2, 75.0)
        done = run(server.url, "--window", "1", COLUMNS="160")
    assert done.exit_code == 0, done.output
    first, *_, titles, row = done.stdout.splitlines()
    assert first.startswith("USD 0.00/min")
    assert titles.split()[:4] == ["agent", "runs", "oldest", "c/run"]
    assert row.split()[:4] == ["planner", "2", "1m15s", "3.0"]


def test_today_is_a_column_where_a_program_has_a_ledger(tmp_path: Path) -> None:
    with served() as (recorder, server):
        ledger = Ledger(f"sqlite:///{tmp_path / 'spend.db'}")
        ledger.attach(recorder)
        with track_call("openai", "gpt-4o", agent_name="planner", recorder=recorder) as call:
            call.record_usage(input_tokens=4000, output_tokens=0)
        ledger._writer.flush()  # what its thread does every few seconds
        done = run(server.url, "--window", "1", COLUMNS="160")
        found = json.loads(run(server.url, "--json", "--window", "1").stdout)
        ledger.close()
    heading, *_, titles, row = done.stdout.splitlines()
    assert found["agents"][0]["usd_today"] == found["usd_today"] == pytest.approx(0.01)
    assert "0.0100 today" in heading
    assert row.split()[titles.split().index("today")] == "0.0100"


def test_json_has_everything_of_several_programs_added_up() -> None:
    with served() as (one, first), served() as (other, second):
        record(one, "planner", 3)
        record(other, "planner", 4)
        opened(one, "planner", 1, 10.0)
        opened(other, "planner", 2, 20.0)
        done = run(first.url, second.url, "--json", "--window", "1")
    found = json.loads(done.stdout)
    assert [each["problem"] for each in found["sources"]] == [None, None]
    (row,) = found["agents"]
    assert row["flow"]["calls_total"] == 9
    assert (row["active_runs"], row["oldest_run_seconds"]) == (3, 20)
    assert found["flow"]["usd_total"] == pytest.approx(0.07)


def test_one_source_that_is_away_does_not_hide_the_others() -> None:
    with served() as (recorder, server):
        record(recorder, "planner", 3)
        done = run(server.url, "http://127.0.0.1:1", "--window", "1")
    assert done.exit_code == 0
    assert "planner" in done.stdout
    said = "agentmetrics: http://127.0.0.1:1/metrics refuses connections: nothing listens there\n"
    assert done.stderr == said


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (saying("<html>Hello</html>"), "answers with a page of HTML or XML, no metrics"),
        (saying("no", 404), "answers 404 Not Found"),
        (in_other_words, "answers 418 I'm a Teapot"),
        (in_a_circle, "answers 302, a redirect that leads nowhere"),
        (saying("# TYPE llm_calls_total counter\nllm_calls"), "an exposition that is cut off"),
        (saying("# TYPE up gauge\nup 1\n", length=900), "an exposition that is cut off"),
        (saying("# TYPE up gauge\nup 1\n"), "answers with metrics of another program"),
        (saying(""), "answers with an empty answer"),
        (lambda request: request.connection.shutdown(socket.SHUT_RDWR), "closed the connection"),
        (lambda request: request.wfile.write(b"hello\r\n\r\n"), "cannot be read (BadStatusLine)"),
    ],
    ids=[
        "html",
        "404",
        "reason",
        "circle",
        "half",
        "half a body",
        "other",
        "empty",
        "closed",
        "no HTTP",
    ],
)
def test_what_a_source_is_instead_is_said(answer, what: str) -> None:
    with answering(answer) as url:
        done = run(url, "--once")
    assert (done.exit_code, done.stdout) == (1, "")
    assert what in done.stderr


def test_who_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ANSWER_SECONDS", 0.1)
    is_over = threading.Event()

    def wait(request: BaseHTTPRequestHandler) -> None:
        is_over.wait(DEADLINE)

    with answering(wait) as url:
        done = run(url, "--once")
        is_over.set()
    assert (done.exit_code, done.stdout) == (1, "")
    assert "has not answered within" in done.stderr


def test_who_answers_byte_by_byte_is_not_waited_for_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(fetching, "READ_SECONDS", 0.2)
    is_over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not is_over.wait(0.02):
            request.wfile.write(b"#")

    with answering(drip) as url:
        done = run(url, "--once")
        is_over.set()
    assert done.exit_code == 1
    assert "takes more than" in done.stderr


def test_who_never_ends_a_header_is_not_waited_for_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(feeding, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(once, "MOST_SECONDS", 0.5)
    is_over = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        while not is_over.wait(0.02):
            request.wfile.write(b"H")

    with answering(drip) as url:
        done = run(url, "--once", "--window", "1")
        is_over.set()
    assert done.exit_code == 1
    assert "has not answered for" in done.stderr


def test_an_endless_answer_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1 << 20)
    with answering(saying("# HELP much.\n" * 100_000)) as url:
        done = run(url, "--once")
    assert "answers with more than 1 MiB" in done.stderr


def test_a_password_is_sent_and_not_shown() -> None:
    asked: list[str | None] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers["Authorization"])
        saying("no", 401)(request)

    with answering(answer) as url:
        done = run(url.replace("//", "//ann:s%40cret@"), "--once")
    assert set(asked) == {"Basic YW5uOnNAY3JldA=="}
    assert "answers 401" in done.stderr
    assert "ann:***@" in done.stderr
    assert "cret" not in done.output


@pytest.mark.parametrize(
    ("namespace", "is_filtered"), [("", [True, True]), ("shop", [True, False, True])]
)
def test_only_what_is_shown_is_asked_for(namespace: str, is_filtered: list[bool]) -> None:
    asked: list[str] = []
    with served() as (program, server):
        recorder = Namespace(program, namespace) if namespace else program
        recorder.gauge(catalog.BUILD_INFO).labels("1").set(1)
        record(recorder, "planner", 3)
        opened(recorder, "planner", 1, 10.0)

        def answer(request: BaseHTTPRequestHandler) -> None:
            asked.append(request.path)
            with urlopen(f"{server.url}{request.path.removeprefix('/metrics')}") as found:
                saying(found.read().decode())(request)

        with answering(answer) as url:
            source = source_of(url)
            first, second = source.read(), source.read()
        with urlopen(server.url) as found:
            everything = from_exposition(found.read().decode(), 0.0)
    assert ["name%5B%5D=" in path for path in asked] == is_filtered
    assert first.series == second.series == everything.series
    assert first.bounds == second.bounds == everything.bounds


def test_who_does_not_understand_that_is_asked_for_everything() -> None:
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        saying("# TYPE llm_calls_total counter\n", 400 if "?" in request.path else 200)(request)

    with answering(answer) as url:
        source = source_of(url)
        source.read()
        source.read()
    assert [("?" in path) for path in asked] == [True, False, False]


TOLD = {"since": 1.0, "one_process": True}


def runs_told(answer: Callable[[BaseHTTPRequestHandler], None]) -> RunsOfUrl:
    with answering(answer) as url:
        found = RunsOfUrl(f"{url}/metrics")
        found.read()
        found.read()
    return found


def telling(agents: Any, last: str = "boot-9") -> Callable[[BaseHTTPRequestHandler], None]:
    return saying(json.dumps({"last": last, "runs": {**TOLD, "agents": agents}}))


def test_the_last_runs_are_those_of_the_page_beside_metrics() -> None:
    row = [1, 1000.0, 2.5, 3, 4, 500, 0.25, "error"]
    found = runs_told(telling({"plan\x1bner": [row]}))  # told twice, and known once
    assert found.runs == {"plan_ner": (Run(1000.0, 2.5, 3, 4, 500, 0.25, "error"),)}
    assert found.is_one_of_several


@pytest.mark.parametrize(
    "answer",
    [
        saying("no", 404),
        saying("full", 503),
        saying("<html>Log in</html>"),
        saying("[" * 100_000),
        saying("[]"),
        saying('{"last": "x-1", "runs": null}'),
        saying('{"last": "x-1", "runs": {"agents": 7}}'),
        telling({"planner": [[1, 2]]}),
        telling({"planner": [[1, 1.0, -2.5, 3, 4, 5, 0.1, "error"]]}),
        telling({"planner": [[1, 1.0, float("nan"), 3, 4, 5, 0.1, "error"]]}),
        telling({"planner": [[1, 1.0, float("inf"), 3, 4, 5, 0.1, "error"]]}),
        telling({"planner": [[1, 1.0, 1.0, 3, 4, 5, 0.1, "\x1b[31mfunny"]]}),
        telling({"planner": [["a", None, {}, [], 4, 5, 0.1, "error"]]}),
        telling({"planner": "runs"}),
        telling({"planner": [[1, 10**400, 1.0, 3, 4, 5, 0.1, "error"]]}),
    ],
)
def test_who_tells_no_runs_has_none_and_is_not_asked_each_time(
    answer: Callable[[BaseHTTPRequestHandler], None],
) -> None:
    asked: list[str] = []

    def counted(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        answer(request)

    assert runs_told(counted).runs == {}
    (path,) = asked
    assert path.startswith("/agentmetrics/runs?client=")


def test_the_token_of_the_page_is_sent_for_the_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTMETRICS_PAGE_TOKEN", "open s\u00e9same")
    with served() as (recorder, server):
        source, runs = source_of(server.url), RunsOfUrl(server.url)
        for _ in range(2):  # before the first one there is nothing to hear of
            with track_run("planner", recorder=recorder):
                pass
            runs.read()
        source.read()
    assert [len(of) for of in runs.runs.values()] == [1]


def test_an_address_that_is_not_metrics_has_no_page_that_anybody_knows() -> None:
    runs = RunsOfUrl("http://127.0.0.1:1/federate?match=llm")
    runs.read()
    assert runs.runs == {}


def test_json_has_the_last_runs() -> None:
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.01):
            with track_run("planner", recorder=recorder):
                pass

    with served() as (recorder, server):
        record(recorder, "planner", 1)
        thread = threading.Thread(target=work)
        thread.start()
        done = run(server.url, "--json", "--window", "2")
        is_over.set()
        thread.join()
    first, *_ = json.loads(done.stdout)["last_runs"]["planner"]
    assert (first["calls"], first["status"]) == (0, "success")


def test_a_redirect_is_followed() -> None:
    with served() as (recorder, server):
        record(recorder, "planner", 1)

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(307)
            request.send_header("Location", server.url)
            request.end_headers()

        with answering(answer) as url:
            assert "planner" in run(url, "--once", "--window", "1").stdout


def test_a_multiprocess_directory_is_a_source(tmp_path: Path) -> None:
    program = (
        "from prometheus_client import CollectorRegistry\n"
        "from agentmetrics import PrometheusRecorder, catalog\n"
        "recorder = PrometheusRecorder(registry=CollectorRegistry())\n"
        "call = ('planner', 'openai', 'gpt-4o', 'success')\n"
        "recorder.counter(catalog.LLM_CALLS).labels(*call).inc(7)\n"
    )
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=env, check=True)
    done = run("--json", "--window", "1", PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert json.loads(done.stdout)["flow"]["calls_total"] == 7


def test_a_directory_without_metrics_says_so(tmp_path: Path) -> None:
    done = run(str(tmp_path), "--once")
    assert done.stderr == f"agentmetrics: {tmp_path} has no metrics yet\n"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9464", "http://127.0.0.1:9464/metrics"),
        ("localhost", "http://localhost/metrics"),
        ("app:9464/stats", "http://app:9464/stats"),
        ("https://app.example/", "https://app.example/metrics"),
        ("http://[::1]:9464", "http://[::1]:9464/metrics"),
        ("http://app/metrics?name=x", "http://app/metrics?name=x"),
    ],
)
def test_a_url_may_be_short(text: str, address: str) -> None:
    assert source_of(text) == Url(address)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/no/such/directory", "neither a directory nor a URL"),
        ("metrics", "neither a directory nor a URL"),
        ("ftp://app/metrics", "use http or https"),
        ("http://app:port/metrics", "use http or https"),
        ("http:///metrics", "use http or https"),
        ("file:///etc/passwd", "use http or https"),
    ],
)
def test_what_is_no_source_is_refused_at_once(text: str, what: str) -> None:
    done = run(text, "--once")
    assert (done.exit_code, done.stdout) == (2, "")
    assert what in done.stderr


def test_an_order_that_does_not_exist_is_refused() -> None:
    done = run(":1", "--once", "--sort", "beauty")
    assert done.exit_code == 2
    assert "--sort 'beauty' is no column: use one of marked, agent, runs" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_stream_that_is_closed_is_no_terminal(closed: str) -> None:
    program = "from agentmetrics.cli import main; main()"
    with served() as (recorder, server):
        record(recorder, "", 1)
        command = ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", program, "top"]
        done = subprocess.run(
            [*command, server.url, "--window", "1"],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert ('""' in done.stdout) == (closed != ">&-")


# The table


def seen_rows(count: int = 3):
    recorder, watch = MemoryRecorder(), Watch()
    watch.add("here", from_recorder(recorder, 0.0))
    for number in range(1, count + 1):
        record(recorder, f"agent-{number:04}", number)
        opened(recorder, f"agent-{number:04}", number % 3, 10.0 * number)
    watch.add("here", from_recorder(recorder, 60.0))
    return view(watch).agents


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize("width", [1, 20, 40, 80, 120, 200])
def test_a_table_is_no_wider_than_its_terminal(glyphs: Glyphs, width: int) -> None:
    found = list(lines(AGENT_FIELDS, seen_rows(), glyphs, width))
    assert len({len(line) for line in found}) == 1
    assert len(found[0]) <= width
    if glyphs is ASCII:
        assert all(line.isascii() for line in found)


@pytest.mark.parametrize(
    ("glyphs", "name"),
    [(ASCII, "caf\\xe9 \\u65e5\\u672c "), (replace(ASCII, encoding="latin-1"), "caf\xe9 \\u65e5")],
    ids=["ASCII", "Latin-1"],
)
def test_a_name_that_the_output_cannot_show_moves_no_column(glyphs: Glyphs, name: str) -> None:
    first, *others = seen_rows(2)
    found = list(lines(AGENT_FIELDS, [replace(first, agent="caf\xe9 日本"), *others], glyphs, 160))
    assert found[1].startswith(name)
    assert len({len(line) for line in found}) == 1
    assert found[1].encode(glyphs.encoding)


def test_rows_are_sorted_and_filtered() -> None:
    rows = seen_rows()
    names = [row.agent for row in rows]
    assert [row.agent for row in arranged(rows, "marked", False, "")] == names[::-1]
    assert [row.agent for row in arranged(rows, "agent", False, "")] == names
    assert [row.agent for row in arranged(rows, "agent", True, "")] == names[::-1]
    assert [row.agent for row in arranged(rows, "oldest", False, "AGENT-0002")] == ["agent-0002"]
    for order in ORDERS:
        assert len(arranged(rows, order, False, "")) == 3


@pytest.mark.parametrize(
    ("draw", "value", "text"),
    [
        ("number", None, "-"),
        ("number", 0.0, "0"),
        ("number", 0.01, "<0.1"),
        ("number", 9.94, "9.9"),
        ("number", 999.6, "1000"),
        ("number", 12_345.0, "12.3k"),
        ("number", 4.2e9, "4.2G"),
        ("count", 3.0, "3"),
        ("count", 1e300, "1e+300"),
        ("seconds", 0.25, "250ms"),
        ("seconds", 12.34, "12.3s"),
        ("seconds", 300.0, "5m00s"),
        ("age", 0.0, "-"),
        ("age", 59.9, "59s"),
        ("age", 3_725.0, "1h02m"),
        ("age", 400_000.0, "4d"),
        ("age", 1e300, "1e+295d"),
        ("share", 0.0, "0%"),
        ("share", 0.0001, "<0.1%"),
        ("share", 0.034, "3.4%"),
        ("share", 1.3, "130%"),
        ("usd", 0.0, "0.00"),
        ("usd", 0.00001, "<0.0001"),
        ("usd", 0.1234, "0.1234"),
        ("usd", 12.345, "12.35"),
        ("usd", 123_456.0, "123k"),
    ],
)
def test_numbers_are_short(draw: str, value: float | None, text: str) -> None:
    assert getattr(ASCII, draw)(value) == text


def test_help_knows_every_column_and_fits_into_40_characters() -> None:
    _, columns, _ = HELP.split("\n\n")
    missing = {field.title for field in AGENT_FIELDS[1:]} - {*re.findall(r"[^\s,;]+", columns)}
    assert missing == {"last minute"}
    assert "\nlast minute\n" in columns
    assert max(map(len, HELP.splitlines())) <= 40


def test_a_bar_has_an_end() -> None:
    assert ASCII.bar(float("inf"), 4) == "####"
    assert ASCII.bar(-1.0, 4) == "...."


def test_a_course_is_drawn_on_its_own_scale() -> None:
    assert ASCII.course([0, 1, 4, 8]) == " .=#"
    assert UNICODE.course([0, 0.001, 4, 8]) == " ▁▄█"
    assert ASCII.course([0, 0]) == "  "


@contextmanager
def on_a_terminal(url: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The program, drawing, and the terminal, which is to be closed."""
    program = "from agentmetrics.cli import main; main()"
    terminal, of_program = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    env |= environment
    process = subprocess.Popen(
        [sys.executable, "-c", program, "top", url],
        stdin=of_program,
        stdout=of_program,
        stderr=of_program,
        env=env,
        start_new_session=True,
    )
    os.close(of_program)
    try:
        yield process, terminal
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_a_terminal_is_given_back_as_it_was(how: str) -> None:
    with served() as (recorder, server), on_a_terminal(server.url) as (process, terminal):
        record(recorder, "planner", 3)
        drawn = _read_until(terminal, b"planner")
        if how == "Ctrl-C":
            os.write(terminal, b"\x03")
        else:
            process.terminate()
        drawn += _read_until(terminal, None)
        os.close(terminal)
        assert process.wait(DEADLINE) == 0
    assert drawn.index(b"\x1b[?1049h") < drawn.index(b"planner") < drawn.index(b"\x1b[?1049l")


def test_a_terminal_that_is_gone_keeps_no_program() -> None:
    with served() as (recorder, server), on_a_terminal(server.url) as (process, terminal):
        record(recorder, "planner", 3)
        _read_until(terminal, b"planner")
        os.close(terminal)
        assert process.wait(DEADLINE) in (0, -signal.SIGALRM)


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on() -> None:
    with served() as (recorder, server), on_a_terminal(server.url) as (process, terminal):
        record(recorder, "planner", 3)
        _read_until(terminal, b"planner")
        os.write(terminal, b"\x1a")
        _read_until(terminal, b"\x1b[?1049l")
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        drawn = _read_until(terminal, b"planner")
        assert drawn.index(b"\x1b[?1049h") < drawn.index(b"planner")
        os.write(terminal, b"q")
        _read_until(terminal, None)
        os.close(terminal)
        assert process.wait(DEADLINE) == 0


def test_no_colour_is_the_terminals_own() -> None:
    with served() as (recorder, server):
        record(recorder, "planner", 3)
        recorder.gauge(catalog.LLM_OLDEST_ACTIVE_CALL).labels("planner").set(2000)
        with on_a_terminal(server.url, NO_COLOR="1") as (_, terminal):
            drawn = _read_until(terminal, b"planner: a call is in flight")
            os.close(terminal)
    styles = re.findall(rb"\x1b\[([0-9;]*)m", drawn)
    assert {code for style in styles for code in style.split(b";")} <= {
        *(b"", b"0", b"1", b"2", b"7", b"39", b"49")
    }


def _read_until(terminal: int, text: bytes | None) -> bytes:
    """What a program draws up to this text, or to its end."""
    found = b""
    while text is None or text not in found:
        assert select.select([terminal], [], [], DEADLINE)[0], found
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # so Linux says that nobody draws any more
            part = b""
        if not part:
            assert text is None, found
            return found
        found += part
    return found
