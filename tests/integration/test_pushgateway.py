"""Batch jobs that push to a real Pushgateway, by a call or when they end."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from typer.testing import CliRunner

import agentmetrics
from agentmetrics import ConfigurationError, MemoryRecorder, PrometheusRecorder, PushFailed
from agentmetrics.cli.app import app
from agentmetrics.sources.track import track_call
from tests.integration.pages import blocks, page, section
from tests.services.process import free_port
from tests.services.pushgateway import PushgatewayServer

ROOT = Path(__file__).parents[2]
SETTINGS = ("AGENTMETRICS_", "PROMETHEUS_", "STATSD_")


@pytest.fixture(autouse=True)
def _configured(monkeypatch: pytest.MonkeyPatch, agent_metrics: MemoryRecorder) -> None:
    """What a test configures is forgotten after it."""
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            monkeypatch.delenv(name)


def recorder_with(calls: int, agent: str = "batch") -> PrometheusRecorder:
    recorder = PrometheusRecorder(CollectorRegistry())
    for _ in range(calls):
        with track_call("openai", "gpt-4o-mini", agent_name=agent, recorder=recorder):
            pass
    return recorder


class TestPush:
    def test_push_puts_what_a_scrape_would_show(self, pushgateway: PushgatewayServer) -> None:
        agentmetrics.push(pushgateway.url, job="nightly", recorder=recorder_with(3))
        assert pushgateway.groups() == [{"job": "nightly"}]
        assert pushgateway.value("llm_calls_total", job="nightly", status="success") == 3
        assert pushgateway.value("llm_latency_seconds_count", agent_name="batch") == 3

    def test_push_replaces_what_the_group_had(self, pushgateway: PushgatewayServer) -> None:
        agentmetrics.push(pushgateway.url, job="nightly", recorder=recorder_with(3, "before"))
        agentmetrics.push(pushgateway.url, job="nightly", recorder=recorder_with(1, "after"))
        assert pushgateway.values("llm_calls_total", agent_name="before") == []
        assert pushgateway.value("llm_calls_total", agent_name="after", status="success") == 1

    def test_push_add_keeps_metrics_of_other_names(self, pushgateway: PushgatewayServer) -> None:
        agentmetrics.push(pushgateway.url, job="nightly", recorder=recorder_with(3))
        other = PrometheusRecorder(CollectorRegistry())
        metric = agentmetrics.Metric("files_total", "counter", "Files.")
        other.counter(metric).labels().inc(7)
        agentmetrics.push_add(pushgateway.url, job="nightly", recorder=other)
        assert pushgateway.value("files_total", job="nightly") == 7
        assert pushgateway.value("llm_calls_total", status="success") == 3

    @pytest.mark.parametrize(
        "value",
        [
            "eu-1",
            "a/b/c",
            ".",
            "a+b",
            "...",
            "",
            "two words",
            "50%+1",
            "ünïcode/ß",
            "?q=1#f",
            "..",
            "/",
            "a&b=c;d",
        ],
    )
    def test_push_groups_by_any_value(self, pushgateway: PushgatewayServer, value: str) -> None:
        grouping = {"instance": value, "shard": "3"}
        for job in ("nightly", "etl/daily"):
            agentmetrics.push(
                pushgateway.url, job=job, grouping=grouping, recorder=recorder_with(1)
            )
        found = [{"job": job, **grouping} for job in ("etl/daily", "nightly")]
        groups = sorted(pushgateway.groups(), key=lambda labels: labels["job"])
        assert [{"instance": "", **labels} for labels in groups] == found
        for job in ("nightly", "etl/daily"):
            agentmetrics.push_delete(pushgateway.url, job=job, grouping=grouping)
        assert pushgateway.groups() == []

    def test_push_delete_leaves_other_groups(self, pushgateway: PushgatewayServer) -> None:
        for shard in ("1", "2"):
            agentmetrics.push(
                pushgateway.url,
                job="nightly",
                grouping={"shard": shard},
                recorder=recorder_with(1),
            )
        agentmetrics.push_delete(pushgateway.url, job="nightly", grouping={"shard": "1"})
        agentmetrics.push_delete(pushgateway.url, job="never-pushed")
        assert pushgateway.groups() == [{"job": "nightly", "shard": "2"}]

    def test_push_takes_what_is_not_given_from_the_settings(
        self, pushgateway: PushgatewayServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENTMETRICS_SERVICE", "shop")
        agentmetrics.configure(
            recorder_with(2),
            pushgateway_url=f"127.0.0.1:{pushgateway.port}/",
            pushgateway_grouping="instance=eu/1",
        )
        agentmetrics.push()
        assert pushgateway.groups() == [{"job": "shop", "instance": "eu/1"}]
        agentmetrics.push(job="other", grouping={})
        assert {"job": "other"} in pushgateway.groups()


class TestAPushThatFails:
    def test_a_push_that_fails_for_nobody_listens_is_one_sentence(self) -> None:
        port = free_port()
        with pytest.raises(PushFailed) as raised:
            agentmetrics.push(f"http://127.0.0.1:{port}", job="nightly", recorder=recorder_with(1))
        assert re.fullmatch(
            rf"the Pushgateway at http://127\.0\.0\.1:{port} cannot be reached: "
            r".*refused.* \(job 'nightly'\)",
            str(raised.value),
        )

    def test_a_push_that_fails_for_the_host_does_not_exist_is_one_sentence(self) -> None:
        with pytest.raises(PushFailed, match=r"at http://no\.such\.invalid:9091 (cannot|did not)"):
            agentmetrics.push_delete("http://no.such.invalid:9091", job="nightly")

    def test_a_push_that_fails_for_it_is_refused_says_what_the_pushgateway_said(
        self, pushgateway: PushgatewayServer
    ) -> None:
        class Odd(Collector):
            """What the Pushgateway finds inconsistent: its own metric, of another kind."""

            def collect(self) -> Iterator[Any]:
                from prometheus_client.core import CounterMetricFamily

                yield CounterMetricFamily("pushgateway_build_info", "It.", value=1)
                bad = CounterMetricFamily("x", "It.", labels=["job"])
                bad.add_metric(["a"], 1)
                bad.add_metric(["b"], 1)
                yield bad

        recorder = recorder_with(1)
        recorder.registry.register(Odd())
        with pytest.raises(PushFailed, match=r"refused with 400 Bad Request: .*\(job 'nightly'\)"):
            agentmetrics.push(pushgateway.url, job="nightly", recorder=recorder)

    def test_a_push_that_fails_for_it_is_not_answered_takes_no_longer_than_it_may(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            self._gives_up(url)
        # A look-up of a name has no timeout of its own.
        done = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait(30))
        self._gives_up("http://slow.example:9091")
        done.set()

    def _gives_up(self, url: str) -> None:
        began = time.monotonic()
        with pytest.raises(PushFailed, match=r"did not answer in 0.3 s \(job 'nightly'\)"):
            agentmetrics.push(url, job="nightly", timeout_seconds=0.3, recorder=recorder_with(1))
        assert time.monotonic() - began < 3

    def test_a_push_that_fails_in_a_collector_of_somebody_else_raises_what_it_raises(
        self, pushgateway: PushgatewayServer
    ) -> None:
        class Broken(Collector):
            def describe(self) -> list[Any]:
                return []

            def collect(self) -> Iterator[Any]:
                raise KeyError("theirs")

        recorder = recorder_with(1)
        recorder.registry.register(Broken())
        with pytest.raises(KeyError, match="theirs"):
            agentmetrics.push(pushgateway.url, job="nightly", recorder=recorder)
        assert pushgateway.groups() == []


class TestAPushThatCannotBe:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"job": "a"}, "no Pushgateway is named: pass its URL, such as push("),
            ({"url": "http://h:9091"}, "a push needs the name of its job: pass job="),
            ({"url": "http://h", "job": ""}, "a push needs the name of its job: pass job="),
            ({"url": "ftp://h", "job": "a"}, "not the URL of a Pushgateway: use http://host:9091"),
            ({"url": "http://", "job": "a"}, "not the URL of a Pushgateway"),
            ({"url": "", "job": "a"}, "not the URL of a Pushgateway"),
            ({"url": "http://h:99999", "job": "a"}, "not the URL of a Pushgateway"),
            ({"url": "http://u:s3cret/x@h", "job": "a"}, "not the URL of a Pushgateway"),
            ({"url": "http://h/?token=s3cret", "job": "a"}, "not the URL of a Pushgateway"),
            ({"url": "http://h", "job": "a", "grouping": {"job": "b"}}, "which is the job's own"),
            ({"url": "http://h", "job": "a", "grouping": {"a-b": "c"}}, "'a-b' is not a valid"),
        ],
    )
    def test_a_push_that_cannot_be_is_one_sentence(
        self, arguments: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ConfigurationError) as raised:
            agentmetrics.push(**arguments, recorder=recorder_with(1))
        assert said in str(raised.value)
        assert "s3cret" not in str(raised.value)

    def test_a_push_that_has_nothing_for_prometheus_is_one_sentence(self) -> None:
        with pytest.raises(ConfigurationError, match="contains no PrometheusRecorder"):
            agentmetrics.push("http://h", job="a", recorder=MemoryRecorder())

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({}, "only what is recorded for Prometheus can be pushed: add 'prometheus' to"),
            ({"pushgateway_job": ""}, "a push needs the name of its job: "),
            ({"pushgateway_grouping": {"job": "a"}}, "which is the job's own"),
        ],
    )
    @pytest.mark.parametrize("at", ["http://me:s3cret@h:9091", "me:s3cret@h:9091"])
    def test_a_push_at_exit_that_cannot_be_stops_the_program_at_the_start(
        self, settings: dict[str, Any], said: str, at: str
    ) -> None:
        before = set(threading.enumerate())
        with pytest.raises(ConfigurationError) as raised:
            agentmetrics.configure(
                **{"pushgateway_url": at, "pushgateway_job": "a", **settings}, backend="memory"
            )
        sentence = str(raised.value)
        assert sentence.startswith("AGENTMETRICS_PUSHGATEWAY_URL='")
        assert said in sentence
        assert "s3cret" not in sentence
        assert [one for one in set(threading.enumerate()) - before if one.is_alive()] == []


def checked(**environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The status of ``agentmetrics check``, and what it says of each part by its name."""
    done = CliRunner().invoke(app, ["check", "--json"], env=environment)
    assert "s3cret" not in done.output
    found = json.loads(done.stdout)
    return done.exit_code, {backend["name"]: backend for backend in found["backends"]}


class TestCheck:
    def test_check_says_where_and_as_what_is_pushed(self, pushgateway: PushgatewayServer) -> None:
        status, found = checked(
            AGENTMETRICS_BACKEND="prometheus",
            AGENTMETRICS_PUSHGATEWAY_URL=f"http://me:s3cret@127.0.0.1:{pushgateway.port}",
            AGENTMETRICS_PUSHGATEWAY_JOB="nightly",
            AGENTMETRICS_PUSHGATEWAY_GROUPING="instance=eu/1",
        )
        assert status == 0
        assert found["pushgateway"]["does"] == (
            f"pushes to {pushgateway.url} at exit, as job='nightly', instance='eu/1'"
        )
        assert found["pushgateway"]["problem"] is None
        assert pushgateway.groups() == []

    @pytest.mark.parametrize(
        ("backend", "job", "problem"),
        [
            ("prometheus", "nightly", "cannot be reached: "),
            ("prometheus", "", "a push needs the name of its job"),
            ("memory", "nightly", "add 'prometheus' to AGENTMETRICS_BACKEND"),
        ],
    )
    def test_check_says_why_nothing_can_be_pushed(
        self, backend: str, job: str, problem: str
    ) -> None:
        status, found = checked(
            AGENTMETRICS_BACKEND=backend,
            AGENTMETRICS_PUSHGATEWAY_URL=f"me:s3cret@127.0.0.1:{free_port()}",
            AGENTMETRICS_PUSHGATEWAY_JOB=job,
        )
        assert status == 1
        assert problem in found["pushgateway"]["problem"]

    def test_check_says_what_is_read_of_the_system(self) -> None:
        status, found = checked(AGENTMETRICS_SYSTEM_METRICS="true")
        assert status == 0
        assert re.fullmatch(
            r"reads CPU \([\d.]+ cores\), memory \(\d+ MiB\), the disk at / and the process "
            r"when it is scraped",
            found["system"]["does"],
        )


class _Asking(BaseHTTPRequestHandler):
    """A proxy that asks for a password, or sends elsewhere."""

    status, seen = 200, list[tuple[str, str, str | None]]()

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        _Asking.seen.append((self.command, self.path, self.headers.get("Authorization")))
        self.send_response(_Asking.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_POST = do_DELETE = do_GET = _answer  # noqa: N815 - as http.server asks for them

    def log_message(self, *_: Any) -> None:
        """Nothing: tests look at what was seen."""


@pytest.fixture
def asking() -> Iterator[str]:
    """The address of one, without a scheme."""
    _Asking.status = 200
    _Asking.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Asking)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestAPassword:
    def test_a_password_is_sent_and_is_no_part_of_the_url(self, asking: str) -> None:
        url = f"http://me:s3%2Fcr%40t@{asking}/prefix/"
        agentmetrics.push(url, job="nightly", recorder=recorder_with(1))
        ((method, path, authorization),) = _Asking.seen
        assert (method, path) == ("PUT", "/prefix/metrics/job/nightly")
        assert authorization == "Basic " + base64.b64encode(b"me:s3/cr@t").decode()

    @pytest.mark.parametrize("status", [401, 302, 307, 500])
    def test_a_password_is_not_shown_nor_sent_elsewhere(self, asking: str, status: int) -> None:
        _Asking.status = status
        for ask in (agentmetrics.push, agentmetrics.push_add):
            with pytest.raises(PushFailed, match=f"refused with {status} ") as raised:
                ask(f"http://me:s3cret@{asking}", job="nightly", recorder=recorder_with(1))
            assert "s3cret" not in str(raised.value)
            assert raised.value.__cause__ is None
        with pytest.raises(PushFailed, match=f"refused with {status} "):
            agentmetrics.push_delete(f"http://me:s3cret@{asking}", job="nightly")
        assert [method for method, _, _ in _Asking.seen] == ["PUT", "POST", "DELETE"]


JOB = """\
import agentmetrics, sys
with agentmetrics.track_call("openai", "gpt-4o-mini", agent_name="batch") as call:
    call.record_usage(3, 1)
"""


def job(code: str, url: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """A program that has run with the settings of a Pushgateway, and the seconds that it took."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(SETTINGS)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", JOB + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            "AGENTMETRICS_BACKEND": "prometheus",
            "AGENTMETRICS_PUSHGATEWAY_URL": url,
            "AGENTMETRICS_PUSHGATEWAY_JOB": "nightly",
            **environment,
        },
    )
    return done, time.monotonic() - began


class TestAtExit:
    @pytest.mark.parametrize(
        ("code", "status"),
        [("sys.exit(3)", 3), ("raise SystemError('theirs')", 1)],
        ids=["status", "error"],
    )
    def test_at_exit_a_job_pushes_however_it_ends(
        self, pushgateway: PushgatewayServer, code: str, status: int
    ) -> None:
        grouping = "instance=eu/1,shard=3"
        done, _ = job(code, pushgateway.url, AGENTMETRICS_PUSHGATEWAY_GROUPING=grouping)
        assert done.returncode == status, done.stderr
        assert pushgateway.groups() == [{"job": "nightly", "instance": "eu/1", "shard": "3"}]
        assert pushgateway.value("llm_calls_total", agent_name="batch", status="success") == 1

    def test_at_exit_a_job_pushes_what_handlers_of_its_own_have_recorded(
        self, pushgateway: PushgatewayServer
    ) -> None:
        code = """
            import atexit
            def last():
                with agentmetrics.track_call("openai", "gpt-4o-mini", agent_name="last") as call:
                    call.record_usage(3, 1)
                agentmetrics.push(job="by hand")
            atexit.register(last)
        """
        done, _ = job(code, pushgateway.url)
        assert (done.returncode, done.stderr) == (0, "")
        for name in ("nightly", "by hand"):
            of = {"job": name, "agent_name": "last", "status": "success"}
            assert pushgateway.value("llm_calls_total", **of) == 1

    def test_at_exit_a_job_that_deleted_its_group_does_not_push_it_again(
        self, pushgateway: PushgatewayServer
    ) -> None:
        code = "agentmetrics.push(); agentmetrics.push_delete()"
        done, _ = job(code, pushgateway.url)
        assert (done.returncode, done.stderr) == (0, "")
        assert pushgateway.groups() == []

    def test_at_exit_a_forked_child_leaves_it_to_its_parent(
        self, pushgateway: PushgatewayServer
    ) -> None:
        code = """
            import os
            if os.fork() == 0:
                with agentmetrics.track_call("openai", "gpt-4o-mini", agent_name="child") as call:
                    call.record_usage(3, 1)
                sys.exit()
            os.wait()
            seen = __import__("urllib.request").request.urlopen(
                os.environ["AGENTMETRICS_PUSHGATEWAY_URL"] + "/metrics").read()
            print(b"llm_calls_total" in seen)
        """
        done, _ = job(code, pushgateway.url)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "False", "")
        assert pushgateway.values("llm_calls_total", agent_name="child") == []
        assert pushgateway.value("llm_calls_total", agent_name="batch", status="success") == 1

    def test_at_exit_a_job_of_several_processes_pushes_the_sum(
        self, pushgateway: PushgatewayServer, tmp_path: Path
    ) -> None:
        code = """
            import os
            for _ in range(3):
                if os.fork() == 0:
                    with agentmetrics.track_call("openai", "gpt-4o-mini", agent_name="batch"):
                        pass
                    os._exit(0)
            for _ in range(3):
                os.wait()
        """
        done, _ = job(code, pushgateway.url, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert pushgateway.value("llm_calls_total", agent_name="batch", status="success") == 4
        assert pushgateway.value("llm_active_calls", agent_name="batch") == 0

    def test_at_exit_a_pushgateway_that_is_away_is_one_warning(self) -> None:
        done, _ = job("", f"http://me:s3cret@127.0.0.1:{free_port()}")
        assert done.returncode == 0
        (warning,) = done.stderr.splitlines()
        assert warning.startswith(
            "nothing was pushed at exit: the Pushgateway at http://127.0.0.1:"
        )
        assert "s3cret" not in done.stderr

    def test_at_exit_a_pushgateway_that_does_not_answer_is_waited_for_only_so_long(self) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            done, took = job("", url, AGENTMETRICS_PUSHGATEWAY_TIMEOUT="0.5")
        assert done.returncode == 0
        (warning,) = done.stderr.splitlines()
        assert warning.endswith("did not answer in 0.5 s (job 'nightly')")
        assert took < 15

    def test_at_exit_a_name_that_is_looked_up_for_ever_is_waited_for_only_so_long(self) -> None:
        code = """
            import socket, time
            socket.getaddrinfo = lambda *_, **__: time.sleep(50)
        """
        done, took = job(code, "http://slow.example", AGENTMETRICS_PUSHGATEWAY_TIMEOUT="0.5")
        assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
        assert took < 30

    def test_at_exit_a_collector_that_fails_is_one_warning(
        self, pushgateway: PushgatewayServer
    ) -> None:
        code = """
            from prometheus_client import REGISTRY
            class Broken:
                def collect(self):
                    if hasattr(self, "told"): raise KeyError("a secret")
                    return []
            broken = Broken(); REGISTRY.register(broken); broken.told = True
        """
        done, _ = job(code, pushgateway.url)
        assert done.returncode == 0
        assert done.stderr.strip() == "nothing was pushed at exit: KeyError"


class TestThePage:
    def test_the_settings_of_the_page_push_what_they_say(
        self, pushgateway: PushgatewayServer
    ) -> None:
        text = section(page("prometheus.md"), "Batch jobs")
        settings = dict(re.findall(r"export (AGENTMETRICS_\w+)=(\S+)", text))
        settings["AGENTMETRICS_PUSHGATEWAY_URL"] = pushgateway.url
        (example,) = blocks(text, "python")
        example = example.replace("http://pushgateway:9091", pushgateway.url)
        done, _ = job(f"{example}", pushgateway.url, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        groups = sorted(pushgateway.groups(), key=lambda labels: labels["instance"])
        assert groups == [
            {"job": "nightly", "instance": "eu-1", "shard": "3"},
            {"job": "nightly", "instance": "eu/1"},
        ]
