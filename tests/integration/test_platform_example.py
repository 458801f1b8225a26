"""examples/platform as a reader runs it: every query of the Platform board has an answer there."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics.operations.boards import boards
from agentmetrics.operations.rules.files import ALERTS
from tests.services import grafana
from tests.services.kit import prometheus_with_kit
from tests.services.postgres import PostgresServer
from tests.services.process import free_port, running
from tests.services.prometheus import PrometheusServer
from tests.services.wire import Answer, Refusal, Wire

EXAMPLE = Path(__file__).parents[2] / "examples" / "platform"
MODEL = "gpt-4o-mini"
ROUNDS = 4
_NOT_THEIRS = re.compile(
    r"(AGENTMETRICS|OPENAI|LANGSMITH|LANGCHAIN|PROMETHEUS)_.*|(HTTP|HTTPS|ALL)_PROXY|PORT",
    re.IGNORECASE,
)
BOARD = [target.expr for target in grafana.targets(boards()["platform"], {})]
WATCHED = [
    alert
    for alert in ALERTS
    if alert.board == "platform" and "retriever_" not in alert.condition  # the desk has none
]


@dataclass
class Desk:
    """The running example, and what its clients have seen of it."""

    wire: Wire
    web: str
    worker: str
    prometheus: PrometheusServer
    answered: int = 0

    def ask(self, method: str, path: str, question: str = "") -> tuple[int, str]:
        query = f"?{urllib.parse.urlencode({'question': question})}" if question else ""
        request = urllib.request.Request(f"http://{self.web}{path}{query}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def looks_up_the_order(self) -> None:
        """Let the clerk use its tool, and both agents answer."""
        tool = Answer(tools=(("order_status", {"order": 1}),), fresh=100, output=10)
        self.wire.script(MODEL, tool, Answer("It is on its way.", fresh=200, output=20))
        self.wire.script(MODEL, Answer("On its way.", fresh=50, output=5))

    def ticket(self) -> str:
        """Open a ticket, and wait for its answer."""
        status, number = self.ask("POST", "/tickets", "Where is order 1?")
        assert status == 202
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status, answer = self.ask("GET", f"/tickets/{number}")
            assert status == 200
            if answer != "null":
                return answer
            time.sleep(0.1)
        raise AssertionError("the ticket was not answered")

    def metric(self, target: str, name: str, **labels: str) -> float:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=30) as response:
            text = response.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def desk(
    postgres_server: PostgresServer,
    redis: Callable[[], str],
    own_wire: Wire,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Desk]:
    """The example, with some rounds of traffic behind it."""
    directory = tmp_path_factory.mktemp("platform")
    plain = {name: text for name, text in os.environ.items() if not _NOT_THEIRS.fullmatch(name)}
    database = postgres_server.new_database().replace("postgresql:", "postgresql+psycopg:")
    web, worker = free_port(), free_port()
    environment = {
        **plain,
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{own_wire.url}/v1",
        "NO_PROXY": "*",
        "DATABASE_URL": database,
        "REDIS_URL": redis(),
        "AGENTMETRICS_BACKEND": "prometheus",
        "AGENTMETRICS_SYSTEM_METRICS": "true",
        "AGENTMETRICS_SQLALCHEMY_SLOW_SECONDS": "0.000001",
        "WORKER_METRICS_PORT": str(worker),
    }
    files = directory / "worker"
    files.mkdir()
    several = {**environment, "PROMETHEUS_MULTIPROC_DIR": str(files)}
    subprocess.run([sys.executable, "database.py"], cwd=EXAMPLE, env=environment, check=True)
    celery = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2"]
    uvicorn = [sys.executable, "-m", "uvicorn", "web:app", "--port", str(web)]
    with ExitStack() as stack:
        for command, port, env in ((celery, worker, several), (uvicorn, web, environment)):
            log = directory / f"{port}.log"
            stack.enter_context(running(command, port=port, log=log, env=env, cwd=EXAMPLE))
        targets = (f"127.0.0.1:{web}", f"127.0.0.1:{worker}")
        prometheus = stack.enter_context(
            prometheus_with_kit(directory, *targets, job="desk", seconds=1)
        )
        running_desk = Desk(own_wire, *targets, prometheus)
        prometheus.scraped()
        for _ in range(ROUNDS):
            _work(running_desk)
            prometheus.scraped()
        yield running_desk


def _work(desk: Desk) -> None:
    """One round, in which everything happens that the board shows."""
    desk.looks_up_the_order()
    assert desk.ask("GET", "/ask", "Where is order 1?") == (200, '"On its way."')
    desk.wire.script(MODEL, Answer("a few words", fresh=10, output=3))
    status, stream = desk.ask("GET", "/hints", "How do I return a lamp?")
    assert (status, stream.count("data: ") > 1) == (200, True)
    desk.wire.script(MODEL, Refusal(500))
    assert desk.ask("GET", "/ask", "Where is order 1?")[0] == 502
    desk.wire.script(MODEL, Refusal(429))  # the first attempt is tried again
    desk.looks_up_the_order()
    assert desk.ticket() == '"On its way."'
    desk.answered += 1
    assert desk.ask("GET", "/tickets/999999")[0] == 404
    assert desk.ask("GET", "/nowhere")[0] == 404


def has_answer(server: PrometheusServer, promql: str) -> bool:
    found = server.get("query", query=promql)["result"]
    return any(not math.isnan(float(series["value"][1])) for series in found)


def without_answer(server: PrometheusServer, queries: list[str]) -> list[str]:
    deadline = time.monotonic() + 30
    silent = queries
    while silent and time.monotonic() < deadline:
        silent = [query for query in silent if not has_answer(server, query)]
        time.sleep(0.5 if silent else 0)
    return silent


def test_every_query_of_the_platform_board_has_an_answer(desk: Desk) -> None:
    assert len(BOARD) > 30
    assert without_answer(desk.prometheus, BOARD) == []


def compared(promql: str) -> str:
    """What the first of an alert's conditions compares with its threshold."""
    tree: Any = promql_parser.parse(promql)
    while str(tree.op) in ("and", "<", ">", "<=", ">="):
        tree = tree.lhs
        if not isinstance(tree, promql_parser.BinaryExpr):
            break
    return str(tree.prettify())


def test_what_every_alert_of_the_platform_compares_has_a_value(desk: Desk) -> None:
    values = [compared(alert.condition) for alert in WATCHED]
    assert len(values) > 10
    assert without_answer(desk.prometheus, values) == []


def test_the_counts_are_those_of_the_clients(desk: Desk) -> None:
    web, worker, rounds = desk.web, desk.worker, desk.answered
    of = desk.metric
    assert of(web, "http_requests_total", method="POST", endpoint="/tickets") == rounds
    assert of(web, "http_requests_total", endpoint="/ask", status="200") == rounds
    assert of(web, "http_errors_total", endpoint="/ask", status="502") == rounds
    assert of(web, "http_requests_total", endpoint="unmatched", status="404") == rounds
    assert of(web, "http_stream_duration_seconds_count", endpoint="/hints") == rounds
    assert of(web, "errors_total", component="ask") == rounds
    assert of(web, "db_queries_total", operation="insert") == rounds
    assert of(worker, "db_queries_total", operation="update") == rounds
    task = "tasks.answer_ticket"
    assert of(worker, "celery_tasks_total", task_name=task, status="success") == rounds
    assert of(worker, "celery_tasks_total", task_name=task, status="error") == 0
    assert of(worker, "celery_task_retries_total", task_name=task) == rounds
    assert of(worker, "celery_tasks_active") == of(web, "http_requests_active") == 0


def test_agents_in_tasks_and_in_requests_are_attributed_alike(desk: Desk) -> None:
    for target in (desk.web, desk.worker):
        for agent in ("clerk", "editor"):
            runs = desk.metric(target, "agent_runs_total", agent_name=agent, status="success")
            assert runs == desk.answered
        used = desk.metric(target, "tool_executions_total", agent_name="clerk", status="success")
        assert used == desk.answered
