"""A program that does everything once after it was configured, and says what that imported.

    python importing.py SUBJECT…

Each subject sets itself up, as a program does at its start; then they do their work, twice. What is
imported meanwhile is printed as JSON: each module with the place in our code that asked for it, or
``""`` where that is not known.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import FrameType
from typing import Any

import agentmetrics as am

OURS = str(Path(am.__file__).parent) + os.sep
Work = Callable[[], object]


class Watch(MetaPathFinder):
    """Sees every module that is looked for, since none that is loaded is looked for."""

    def __init__(self) -> None:
        self.imported: dict[str, str] = {}

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        self.imported.setdefault(name, place(sys._getframe(1)))


def place(frame: FrameType | None) -> str:
    """The innermost line of ours that leads to here."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return f"{file.removeprefix(OURS)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def call(recorder: am.Recorder | None = None, model: str = "gpt-4o-mini") -> None:
    with am.track_call("openai", model, agent_name="a", recorder=recorder) as tracked:
        tracked.record_usage(10, 5)


def memory() -> Work:
    recorder = am.configure(am.MemoryRecorder())

    def work() -> None:
        call()
        call(model="no-such-model")
        recorder.snapshot()

    return work


def given_recorder() -> Work:
    from agentmetrics.pipeline import pipeline_of

    recorder = am.MemoryRecorder()
    pipeline_of(recorder)
    return lambda: call(recorder)


def errors() -> Work:
    am.configure(am.MemoryRecorder())

    def work() -> None:
        for raised in (ValueError("no"), TimeoutError(), KeyboardInterrupt()):
            with suppress(BaseException), am.track_call("openai", "gpt-4o", agent_name="a"):
                raise raised

    return work


def agents() -> Work:
    am.configure(am.MemoryRecorder())

    class Reviewer(am.InstrumentedAgent):
        def run(self) -> None:
            with am.track_tool("search"), self.track_call("anthropic", "claude-sonnet-4-5") as call:
                call.record_usage(10, 5)

        async def arun(self) -> None:
            with self.track_call("anthropic", "claude-sonnet-4-5") as tracked:
                tracked.record_usage(10, 5)

    reviewer = Reviewer()

    def work() -> None:
        reviewer.run()
        asyncio.run(reviewer.arun())

    return work


def responses() -> Work:
    """What providers say, as plain dictionaries, streamed and whole."""
    am.configure(am.MemoryRecorder())
    usage = {"prompt_tokens": 10, "completion_tokens": 5}

    def work() -> None:
        with am.track_call("openai", "gpt-4o-mini", agent_name="a") as tracked:
            tracked.record_response({"model": "gpt-4o-mini", "usage": usage})
        with am.track_call("anthropic", "claude-sonnet-4-5", agent_name="a") as tracked:
            tracked.record_response(
                {"type": "message", "usage": {"input_tokens": 10, "output_tokens": 5}}
            )
        chunks = [{"choices": [{"delta": {"content": "x"}}]}, {"choices": [], "usage": usage}]
        with am.track_call("openai", "gpt-4o-mini", agent_name="a") as tracked:
            for _ in tracked.record_stream(iter(chunks)):
                pass

    return work


def langchain() -> Work:
    from langchain_core.documents import Document
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.tools import tool

    am.configure(am.MemoryRecorder())
    handler = am.MetricsCallbackHandler()

    class Books(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return [Document("x")]

    @tool
    def search(query: str) -> str:
        """Search."""
        return query

    @tool
    def broken(query: str) -> str:
        """Fail."""
        raise ValueError(query)

    def model() -> GenericFakeChatModel:
        tokens = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        return GenericFakeChatModel(
            messages=iter(AIMessage("hello you", usage_metadata=tokens) for _ in range(9))
        )

    config: Any = {"callbacks": [handler]}

    async def asynchronous() -> None:
        await model().ainvoke("x", config)
        async for _ in model().astream("x", config):
            pass

    def work() -> None:
        model().invoke("x", config)
        for _ in model().stream("x", config):
            pass
        asyncio.run(asynchronous())
        search.invoke({"query": "x"}, config)
        with suppress(ValueError):
            broken.invoke({"query": "x"}, config)
        Books().invoke("x", config)

    # What LangChain itself imports late is not ours: it has done all of it once.
    for _ in model().stream("x"):
        pass
    model().invoke("x")
    asyncio.run(model().ainvoke("x"))

    async def chunks() -> None:
        async for _ in model().astream("x"):
            pass

    asyncio.run(chunks())
    search.invoke({"query": "x"})
    Books().invoke("x")
    return work


def agent_with_langchain_inside() -> Work:
    """Its handler is given to LangChain by us, not by the program."""
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    am.configure(am.MemoryRecorder())

    def ask() -> None:
        GenericFakeChatModel(messages=iter([AIMessage("hello")])).invoke("x")

    class Reviewer(am.InstrumentedAgent):
        def run(self) -> None:
            ask()

    ask()
    return Reviewer().run


def prices() -> Work:
    am.configure(am.MemoryRecorder())
    priced = [
        *(("google_genai", "gemini-2.5-pro"), ("deepseek", "deepseek-flash")),
        *(("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"), ("ollama", "llama3")),
    ]

    def work() -> None:
        for provider, model in priced:
            with am.track_call(provider, model, agent_name="a") as tracked:
                tracked.record_usage(10, 5)

    return work


def caches() -> Work:
    am.configure(am.MemoryRecorder())

    def work() -> None:
        tracker = am.CacheTracker("semantic")
        tracker.hit()
        tracker.miss()
        with am.routing("summarize") as choice:
            choice.select("gpt-4o-mini")
        with am.track_run("a"):
            call()
        am.record_tool("search", duration_seconds=0.1, agent_name="a")
        am.record_call("openai", "gpt-4o-mini", duration_seconds=0.1, input_tokens=1)

    return work


def budgets() -> Work:
    home = tempfile.mkdtemp()
    budget = am.Budget("day", limit_usd=1e-9, action="block")
    am.configure(
        am.MemoryRecorder(),
        budgets=[budget],
        ledger_url=f"sqlite:///{home}/spend.db",
        timezone="Europe/Berlin",
    )

    def work() -> None:
        for _ in range(3):
            with suppress(am.BudgetExceeded):
                call()
        am.get_ledger().flush()
        am.get_ledger().summary()

    return work


def notices() -> Work:
    received = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def receive() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            received.set()

    threading.Thread(target=receive, daemon=True).start()
    os.environ["HOOK"] = f"http://localhost:{server.getsockname()[1]}/"
    am.configure(
        am.MemoryRecorder(),
        budgets=[am.Budget("day", limit_usd=1e-9, notify=["webhook:HOOK"])],
    )

    def work() -> None:
        call()
        assert received.wait(30)

    return work


def ledger_on_postgresql() -> Work:
    am.configure(am.MemoryRecorder(), ledger_url=os.environ["POSTGRESQL"])

    def work() -> None:
        call()
        am.get_ledger().flush()
        am.get_ledger().summary()

    return work


def ledger_away() -> Work:
    """The database answers nobody."""
    am.configure(am.MemoryRecorder(), ledger_url=f"postgresql://u:p@127.0.0.1:{free_port()}/x")

    def work() -> None:
        call()
        with suppress(am.LedgerUnavailable):
            am.get_ledger().flush()

    return work


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def statsd() -> Work:
    recorder = am.configure(backend="statsd", statsd_host="localhost")

    def work() -> None:
        call()
        recorder.flush()

    return work


def prometheus() -> Work:
    from agentmetrics.exposition import start_http_server_in_thread

    am.configure(backend="prometheus", system_metrics=True, service="shop")
    port = start_http_server_in_thread().port

    def work() -> None:
        call()
        for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(f"GET /metrics HTTP/1.0\r\nAccept: {accept}\r\n\r\n".encode())
                answer = b"".join(iter(lambda: client.recv(65536), b""))
            assert b"llm_calls_total" in answer

    return work


def multiprocess() -> Work:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
    recorder = am.configure(backend="prometheus")

    def work() -> None:
        call()
        recorder.exposition()  # type: ignore[attr-defined]

    return work


@contextmanager
def watching() -> Iterator[dict[str, str]]:
    watch = Watch()
    sys.meta_path.insert(0, watch)
    try:
        yield watch.imported
    finally:
        sys.meta_path.remove(watch)


def main(subjects: list[str]) -> None:
    works = [globals()[subject]() for subject in subjects]
    before = set(sys.modules)
    with watching() as imported:
        for work in (*works, *works):
            work()
    print(json.dumps({name: imported.get(name, "") for name in set(sys.modules) - before}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
