"""Budget notices over real HTTP: they arrive, once, and no agent waits for them."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import agentmetrics
from agentmetrics import (
    Budget,
    ConfigurationError,
    Ledger,
    LedgerUnavailable,
    MemoryRecorder,
    track_call,
)
from agentmetrics.budget.budgets.budgets import Budgets
from agentmetrics.budget.budgets.notices import destinations_of, notice_of
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.notify import courier as couriers
from agentmetrics.budget.notify import post as posting
from agentmetrics.budget.notify.courier import Courier, unclaimed
from agentmetrics.config.active import replaced
from tests.services.process import free_port
from tests.services.receiver import Receiver
from tests.unit.test_notices import status_of
from tests.unit.test_store import in_a_child

ROOT = Path(__file__).parents[2]
CENT = 4000  # input tokens of gpt-4o
NEVER = 3600.0
ONE_CENT_BUDGET = (
    '[budgets.team]\nlimit_usd = 0.01\nthresholds = [100]\nnotify = ["webhook:HOOK"]\n'
)
PASS_AND_END = """\
from agentmetrics import configure, track_call
configure()
with track_call("openai", "gpt-4o") as call:
    call.record_usage(input_tokens=4000, output_tokens=0)
"""


@pytest.fixture(autouse=True)
def variables(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver's URL where budgets look for it, and no long pauses."""
    monkeypatch.setenv("HOOK", receiver.url)
    monkeypatch.setenv("SLACK", f"{receiver.url}/slack")
    monkeypatch.setattr(couriers, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def in_force(recorder: MemoryRecorder) -> Iterator[Callable[..., Budgets]]:
    """Puts budgets into force at the recorder until the end of the test."""
    made: list[Budgets] = []

    def put(*budgets: Budget, **options: Any) -> Budgets:
        made.append(Budgets(budgets, recorder, **options))
        return made[-1]

    yield put
    for budgets in made:
        budgets.close()


def spend(recorder: MemoryRecorder, cents: int = 1) -> None:
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_usage(input_tokens=cents * CENT, output_tokens=0)


def one_cent(name: str = "team", *notify: str, **options: Any) -> Budget:
    return Budget(name, 0.01, **{"notify": notify or ("webhook:HOOK",), **options})


def lost(recorder: MemoryRecorder) -> float:
    with suppress(KeyError):
        return recorder.value("agentmetrics_handler_errors_total", event="notify")
    return 0.0


class TestDelivery:
    def test_each_threshold_reaches_each_destination_once(
        self, recorder: MemoryRecorder, receiver: Receiver, in_force: Callable[..., Budgets]
    ) -> None:
        in_force(Budget("team", 0.05, thresholds=(40, 100), notify=["slack:SLACK", "webhook:HOOK"]))
        for _ in range(9):
            spend(recorder)
        receiver.take(4)
        in_slack = [one.body["text"] for one in receiver.received if one.path.endswith("/slack")]
        at_webhook = [one.body for one in receiver.received if one.path == "/s3cret"]
        assert ["passed 40%" in in_slack[0], "passed 100%" in in_slack[1]] == [True, True]
        assert [(one["kind"], one["threshold"]) for one in at_webhook] == [
            ("threshold", 40.0),
            ("exceeded", 100.0),
        ]
        assert at_webhook[0]["spent_usd"] == pytest.approx(0.02)
        assert len(receiver.received) == 4

    def test_a_file_says_whom_to_tell_about_all_budgets_and_about_one(
        self, receiver: Receiver, tmp_path: Path
    ) -> None:
        path = tmp_path / "budgets.toml"
        path.write_text(
            'notify = ["slack:SLACK"]\n'
            "[budgets.all]\nlimit_usd = 0.01\nthresholds = [100]\n"
            '[budgets.own]\nlimit_usd = 0.01\nthresholds = [100]\nnotify = ["webhook:HOOK"]\n'
            "[budgets.none]\nlimit_usd = 0.01\nthresholds = [100]\nnotify = []\n"
        )
        with replaced(MemoryRecorder()):
            spend(agentmetrics.configure(backend="memory", budgets_file=path))  # type: ignore[arg-type]
        assert sorted(one.path for one in receiver.received) == ["/s3cret", "/s3cret/slack"]

    @pytest.mark.parametrize("refusals", [[503], [500, 502, 429]])
    def test_a_notice_that_is_refused_for_now_is_sent_again(
        self,
        refusals: list[int],
        recorder: MemoryRecorder,
        receiver: Receiver,
        in_force: Callable[..., Budgets],
    ) -> None:
        receiver.answers.extend(refusals)
        in_force(one_cent(thresholds=(100,)))
        spend(recorder)
        sent = receiver.take(len(refusals) + 1)
        assert sent == [sent[0]] * len(sent)
        assert lost(recorder) == 0

    def test_a_receiver_that_asks_for_time_gets_it(
        self, recorder: MemoryRecorder, receiver: Receiver, in_force: Callable[..., Budgets]
    ) -> None:
        receiver.answers.append((429, {"Retry-After": "1"}))
        in_force(one_cent(thresholds=(100,)))
        spend(recorder)
        receiver.take(2)
        assert receiver.received[1].at - receiver.received[0].at >= 1

    def test_a_receiver_that_is_not_there_yet_is_tried_until_it_is(
        self,
        recorder: MemoryRecorder,
        in_force: Callable[..., Budgets],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tried = threading.Event()

        def post(*what: Any) -> None:
            try:
                posting.post(*what)
            except posting.Undelivered:
                tried.set()
                raise

        port = free_port()
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{port}/")
        monkeypatch.setattr(couriers, "post", post)
        monkeypatch.setattr(couriers, "LONGEST_PAUSE_SECONDS", 0.1)
        monkeypatch.setattr(couriers, "MAX_TRIES", 1000)
        in_force(one_cent(thresholds=(100,)))
        spend(recorder)
        assert tried.wait(30)
        late = Receiver(port)
        assert late.take(1)[0]["budget"] == "team"
        late.close()

    def test_a_notice_goes_through_the_proxy_that_the_environment_names(
        self,
        recorder: MemoryRecorder,
        receiver: Receiver,
        in_force: Callable[..., Budgets],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
        monkeypatch.setenv("HOOK", "http://nowhere.invalid/hook")
        in_force(one_cent(thresholds=(100,)))
        spend(recorder)
        receiver.take(1)
        assert receiver.received[0].path == "http://nowhere.invalid/hook"

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (404, "it answered with status 404"),
            ((303, {"Location": "/elsewhere"}), "it answered with status 303"),
            ((307, {"Location": "/elsewhere"}), "it answered with status 307"),
            ((302, {"Location": "file:///etc/hostname"}), "it answered with status 302"),
            (None, "it did not answer (RemoteDisconnected)"),
        ],
    )
    def test_a_notice_that_is_refused_or_may_have_arrived_is_not_sent_again(
        self,
        answer: Any,
        said: str,
        recorder: MemoryRecorder,
        receiver: Receiver,
        in_force: Callable[..., Budgets],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        receiver.answers.extend([answer, answer])
        budgets = in_force(one_cent())
        spend(recorder)
        budgets.close()
        assert [one.body and one.body["threshold"] for one in receiver.received] == [80, 100]
        assert lost(recorder) == 2
        warned = [r.getMessage() for r in caplog.records if "not delivered" in r.getMessage()]
        assert warned == [f"a notice of budget 'team' to webhook:HOOK was not delivered: {said}"]
        assert "s3cret" not in caplog.text

    def test_a_notice_that_is_refused_again_and_again_is_given_up(
        self,
        recorder: MemoryRecorder,
        receiver: Receiver,
        in_force: Callable[..., Budgets],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(couriers, "LONGEST_PAUSE_SECONDS", 0.01)
        receiver.answers.extend([503] * 50)
        in_force(one_cent(thresholds=(100,)))
        spend(recorder)
        receiver.wait_for(lambda: lost(recorder) == 1)
        assert len(receiver.received) == couriers.MAX_TRIES


class TestAServerThatHangs:
    def test_a_server_that_hangs_keeps_no_call_waiting_and_loses_no_other_destination(
        self,
        recorder: MemoryRecorder,
        receiver: Receiver,
        in_force: Callable[..., Budgets],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        other = Receiver()
        monkeypatch.setenv("SLACK", other.url)
        monkeypatch.setattr(posting, "TIMEOUT_SECONDS", 120.0)
        receiver.hanging.set()
        in_force(*(one_cent(f"b{number}", "webhook:HOOK", "slack:SLACK") for number in range(20)))
        for _ in range(50):
            spend(recorder)
        assert recorder.value("llm_calls_total") == 50
        assert len(other.take(40)) == 40
        assert len(receiver.take(1)) == len(receiver.received)  # all else still waits behind it
        receiver.answer_again()
        assert len(receiver.take(40)) == 40
        assert lost(recorder) == 0
        other.close()

    def test_a_server_that_hangs_has_a_bounded_number_waiting(
        self,
        recorder: MemoryRecorder,
        receiver: Receiver,
        in_force: Callable[..., Budgets],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        receiver.hanging.set()
        in_force(one_cent(thresholds=range(1, 151)))
        spend(recorder, cents=2)
        assert lost(recorder) >= 150 - couriers.MAX_WAITING - 1  # one has left the queue
        assert caplog.text.count("100 others are waiting") == 1
        receiver.answer_again()
        receiver.wait_for(lambda: len(receiver.received) + lost(recorder) == 150)


class TestSeveralProcesses:
    @pytest.fixture
    def environment(self, receiver: Receiver, tmp_path: Path) -> dict[str, str]:
        path = tmp_path / "budgets.toml"
        path.write_text(ONE_CENT_BUDGET)
        return {
            "AGENTMETRICS_LEDGER_URL": f"sqlite:///{tmp_path / 'spend.db'}",
            "AGENTMETRICS_BUDGETS_FILE": str(path),
            "HOOK": receiver.url,
            "PYTHONPATH": str(ROOT),
            "PATH": "",
        }

    @staticmethod
    def start(environment: dict[str, str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PASS_AND_END]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def end(self, process: subprocess.Popen[str]) -> str:
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
        return said

    def test_several_processes_with_one_ledger_tell_once_and_so_does_a_restart(
        self, receiver: Receiver, environment: dict[str, str]
    ) -> None:
        for process in [self.start(environment) for _ in range(3)]:
            assert "not delivered" not in self.end(process)
        assert "passed 100%" in self.end(self.start(environment))  # its log says so, nobody else
        (told,) = receiver.take(1)
        assert told["kind"] == "exceeded"
        assert len(receiver.received) == 1

    def test_several_processes_do_not_repeat_what_one_was_killed_over(
        self, receiver: Receiver, environment: dict[str, str]
    ) -> None:
        receiver.hanging.set()
        killed = self.start(environment)
        receiver.take(1)
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)
        receiver.answer_again()
        self.end(self.start(environment))
        assert len(receiver.received) == 1

    def test_a_process_that_ends_delivers_what_it_has_just_passed(
        self, receiver: Receiver, environment: dict[str, str]
    ) -> None:
        receiver.answers.append(503)
        said = self.end(self.start(environment))
        assert "not delivered" not in said
        assert len(receiver.received) == 2

    def test_a_process_that_ends_does_not_wait_for_a_server_that_hangs(
        self, receiver: Receiver, environment: dict[str, str]
    ) -> None:
        receiver.hanging.set()
        said = self.end(self.start(environment))
        assert "budget notices to webhook:HOOK were still being sent" in said
        assert "s3cret" not in said

    def test_a_process_that_makes_no_call_tells_what_others_have_spent(
        self, receiver: Receiver, recorder: MemoryRecorder, tmp_path: Path
    ) -> None:
        url = f"sqlite:///{tmp_path / 'spend.db'}"
        with Ledger(url, flush_interval_seconds=0.05) as idle, Ledger(url) as other:
            idle.attach(MemoryRecorder())
            budgets = Budgets([one_cent(thresholds=(100,))], MemoryRecorder(), ledger=idle)
            budgets.load()
            other.attach(recorder)
            spend(recorder)
            other.flush()
            assert receiver.take(1)[0]["spent_usd"] == pytest.approx(0.01)
            budgets.close()

    def test_a_forked_child_sends_its_own_and_not_what_waits_in_its_parent(
        self, receiver: Receiver, recorder: MemoryRecorder, in_force: Callable[..., Budgets]
    ) -> None:
        receiver.hanging.set()
        budgets = in_force(
            one_cent("small", thresholds=(50, 100)), Budget("big", 0.02, notify=["webhook:HOOK"])
        )
        spend(recorder)
        receiver.take(1)  # which is not answered, so that the other one of "small" waits
        receiver.hanging.clear()

        def spend_and_end() -> None:
            spend(recorder)
            budgets.close()

        def told() -> list[tuple[str, float]]:
            return [(one.body["budget"], one.body["threshold"]) for one in receiver.received]

        assert in_a_child(spend_and_end) == "None"
        assert told() == [("small", 50), ("big", 80), ("big", 100)]
        receiver.answer_again()
        budgets.close()
        assert told()[3:] == [("small", 100)]


class TestClaims:
    def test_a_claim_has_one_claimant_who_may_ask_again(self, ledger_url: str) -> None:
        with Ledger(ledger_url) as one, Ledger(ledger_url) as other:
            assert one.claim("a", "one")
            assert one.claim("a", "one")  # whose first answer was lost
            assert not other.claim("a", "other")
            assert other.claim("b", "other")

    def test_a_claim_is_forgotten_with_writers_long_gone(
        self, ledger_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = Database(ledger_url)
        database.prepare()
        assert database.claim("a", "one")
        database.prune(0)
        assert not database.claim("a", "other")
        later = time.time() + 91 * 86_400
        monkeypatch.setattr("agentmetrics.budget.ledger.database.time.time", lambda: later)
        database.prune(0)
        assert database.claim("a", "other")

    def test_a_claim_that_cannot_be_made_now_is_made_later_and_no_notice_sent_before(
        self, receiver: Receiver
    ) -> None:
        asked: list[tuple[str, str]] = []

        def claim(what: str, claimant: str) -> bool:
            asked.append((what, claimant))
            if len(asked) < 3:
                assert not receiver.received
                raise LedgerUnavailable("away")
            return True

        team = one_cent()
        (destination,) = destinations_of([team])
        courier = Courier(destination, claim, lambda: None)
        courier.send(notice_of("threshold", team, status_of(team), 80.0))
        receiver.take(1)
        courier.close()(10)
        assert len(asked) == 3
        assert len(set(asked)) == 1

    def test_a_claim_of_somebody_else_is_no_loss(self, receiver: Receiver) -> None:
        team, losses = one_cent(), []
        (destination,) = destinations_of([team])
        courier = Courier(destination, lambda what, claimant: False, lambda: losses.append(1))
        courier.send(notice_of("threshold", team, status_of(team), 80.0))
        courier.close()(10)
        assert (receiver.received, losses) == ([], [])


class TestConfiguring:
    def test_configuring_without_the_variable_leaves_everything_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("HOOK")
        path = tmp_path / "budgets.toml"
        path.write_text(ONE_CENT_BUDGET)
        with replaced(MemoryRecorder()):
            before = agentmetrics.get_recorder()
            with pytest.raises(ConfigurationError) as refused:
                agentmetrics.configure(budgets_file=path)
            assert agentmetrics.get_recorder() is before
        assert str(refused.value) == (
            f"AGENTMETRICS_BUDGETS_FILE={str(path)!r}: budget 'team': notify='webhook:HOOK': the "
            "environment variable HOOK is not set"
        )

    def test_configuring_anew_delivers_what_waits(self, receiver: Receiver) -> None:
        with replaced(MemoryRecorder()):
            recorder = agentmetrics.configure(
                backend="memory", budgets=[one_cent(thresholds=(100,))]
            )
            spend(recorder)  # type: ignore[arg-type]
            agentmetrics.configure(backend="memory")
            assert len(receiver.received) == 1


class TestAThreadThatCannotBeStarted:
    def test_a_thread_that_cannot_be_started_is_no_error_of_the_call(
        self,
        recorder: MemoryRecorder,
        in_force: Callable[..., Budgets],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def none_left(_: object) -> None:
            raise RuntimeError("can't start new thread")

        in_force(one_cent(thresholds=(100,)))
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread.start", none_left)
            with caplog.at_level(logging.WARNING, "agentmetrics"):
                spend(recorder)
        assert "no thread could be started" in caplog.text
        assert lost(recorder) == 1


def test_a_port_where_nobody_listens_is_named_without_the_url(
    recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{free_port()}/s3cret")
    monkeypatch.setattr(couriers, "MAX_TRIES", 2)
    team = one_cent()
    (destination,) = destinations_of([team])
    courier = Courier(destination, unclaimed, lambda: None)
    courier.send(notice_of("threshold", team, status_of(team), 80.0))
    courier.close()(10)
    assert "it cannot be reached (ConnectionRefusedError)" in caplog.text
    assert "s3cret" not in caplog.text
