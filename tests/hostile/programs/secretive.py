"""Private texts in every place that can have one: ``python -m …secretive DIRECTORY CANARY``.

All that agentmetrics logs at DEBUG, raises, shows and serves is printed. What the program itself
knows is not: the canary stands in nothing else that is printed here.
"""

from __future__ import annotations

import logging
import sys
import traceback
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from openai import OpenAI
from typer.testing import CliRunner

from agentmetrics import (
    Budgets,
    ConfigurationError,
    InstrumentedAgent,
    InstrumentedCache,
    InstrumentedEmbeddings,
    MemoryRecorder,
    MetricsCallbackHandler,
    PrometheusRecorder,
    PushFailed,
    configure,
    get_ledger,
    get_recorder,
    labels,
    push,
    record_call,
    record_error,
    routing,
    track_call,
    track_run,
    track_tool,
    wrap,
)
from agentmetrics.backends.pushgateway import Pushgateway
from agentmetrics.cli.app import app
from agentmetrics.config.loading import load_settings
from agentmetrics.plugin import prometheus_recorder
from tests.unit.scripted import Chat, StreamingChat, answer

CANARY = sys.argv[2]
OURS = (ConfigurationError, PushFailed)


def said(error: BaseException | None) -> None:
    """Print an exception of ours, with what it came from."""
    while error is not None:
        print(error, repr(error), *traceback.format_exception(error))
        error = error.__cause__ or error.__context__


def attempt(work: Callable[[], object]) -> None:
    """What is of the program's own is not printed; what is ours is."""
    try:
        made = work()
    except Exception as error:
        if type(error).__module__.startswith("agentmetrics"):
            said(error)
    else:
        if type(made).__module__.startswith("agentmetrics"):
            print(made, repr(made))


# Calls of LangChain


@tool
def search(query: str) -> str:
    """Search."""
    raise ValueError(f"{CANARY} {query}")


class Documents(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(f"{CANARY} {query}", metadata={"source": CANARY})]


class Vectors(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise ConnectionError(CANARY)

    def embed_query(self, text: str) -> list[float]:
        return [1.0]


def langchain() -> None:
    handler = MetricsCallbackHandler()
    print(handler, repr(handler))
    config: Any = {
        "callbacks": [handler],
        "metadata": {"user": CANARY, "session": [CANARY], "authorization": CANARY},
        "tags": [CANARY],
    }
    reply = answer(CANARY)
    reply.response_metadata = {"headers": {"set-cookie": CANARY}, "model_name": "gpt-4o"}
    asked = [SystemMessage(CANARY), HumanMessage(CANARY), AIMessage("", tool_calls=[
        {"name": "search", "args": {"query": CANARY}, "id": "1"},
    ])]  # fmt: skip
    cached = InstrumentedCache(InMemoryCache(), "prompts")
    print(cached, repr(cached))
    chain: Any = RunnableLambda(lambda x: x) | Chat(answers=[reply], cache=cached)
    for _ in range(2):
        chain.invoke(asked, config)
    list(StreamingChat(answers=[reply]).stream(asked, config))
    for error in (ValueError(CANARY), ConnectionResetError(CANARY), KeyError(CANARY)):
        attempt(lambda error=error: Chat(answers=[error]).invoke(asked, config))  # type: ignore[misc]
    attempt(lambda: search.invoke({"query": CANARY}, config))
    attempt(lambda: Documents().invoke(CANARY, config))
    embeddings = InstrumentedEmbeddings(Vectors(), provider="openai", model="text-embedding-3")
    attempt(lambda: embeddings.embed_documents([CANARY]))
    for name in ("on_llm_end", "on_tool_end", "on_chain_end", "on_retriever_end"):
        getattr(handler, name)({"outputs": CANARY}, run_id=uuid.uuid4())
    run_id = uuid.uuid4()
    handler.on_chat_model_start(
        {"kwargs": {"api_key": CANARY}}, [asked], run_id=run_id,
        invocation_params={"api_key": CANARY, "extra_headers": {"authorization": CANARY}},
        metadata={"ls_provider": "openai", "ls_model_name": "gpt-4o", "agent_name": {CANARY: 1}},
    )  # fmt: skip
    handler.on_llm_error(RuntimeError(CANARY), run_id=run_id)


# Calls without it


class Agent(InstrumentedAgent):
    def run(self, task: str) -> None:
        with self.track_call("openai", "gpt-4o") as call:
            call.record_response({"choices": [{"message": {"content": task}}], "usage": CANARY})
        raise RuntimeError(CANARY)


class Odd:
    def __str__(self) -> str:
        raise ValueError(CANARY)

    __repr__ = __hash__ = __str__  # type: ignore[assignment]


def plain() -> None:
    attempt(lambda: Agent().run(CANARY))
    with track_run("a"), track_call("openai", "gpt-4o", agent_name="a") as call:
        print(call, repr(call))
        call.record_usage(CANARY, [CANARY], cost_usd=CANARY)  # type: ignore[arg-type]
        call.record_response(SimpleNamespace(text=CANARY, usage=SimpleNamespace(tokens=CANARY)))
    events = [{"choices": [{"delta": {"content": CANARY}}]}, CANARY, Odd(), {"usage": CANARY}]
    with track_call("openai", "gpt-4o") as call:
        list(call.record_stream(iter(events)))

    def used() -> None:
        with track_tool("search"):
            raise LookupError(CANARY)

    attempt(used)
    with labels(tenant=Odd()), track_call("openai", "gpt-4o"):  # type: ignore[arg-type]
        pass
    record_call("openai", "gpt-4o", input_tokens=CANARY, started=CANARY, cost_usd=CANARY)  # type: ignore[arg-type]
    record_call("openai", "gpt-4o", error_type=ValueError(CANARY))
    record_error(ValueError(CANARY), "component")
    attempt(lambda: routing("intent").__exit__(ValueError, ValueError(CANARY), None))
    client = wrap(
        OpenAI(
            api_key=CANARY, base_url=f"http://joe:{CANARY}@127.0.0.1:1/v1", max_retries=0,
            default_headers={"x-secret": CANARY},
        )
    )  # fmt: skip
    attempt(
        lambda: client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": CANARY}], user=CANARY
        )
    )


# What is shown


def shown() -> None:
    recorder, ledger = get_recorder(), get_ledger()
    print(recorder, repr(recorder), ledger, repr(ledger))
    for settings in load_settings(), load_settings(ledger_url=f"mysql://joe:{CANARY}@127.0.0.1/db"):
        print(settings, repr(settings), settings.model_dump(), settings.model_dump_json())
    memory = MemoryRecorder()
    budgets = Budgets([], memory)
    print(budgets, repr(budgets), budgets.status())
    prometheus = prometheus_recorder(None)
    assert isinstance(prometheus, PrometheusRecorder)
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        print(prometheus.exposition(accept).body.decode())
    url = f"http://joe:{CANARY}@127.0.0.1:1/gateway"
    attempt(lambda: Pushgateway(url, "job"))
    attempt(lambda: push(url, job="job", timeout_seconds=0.5))
    attempt(push)
    assert ledger is not None
    attempt(ledger.flush)
    attempt(ledger.summary)
    for command in (
        *(["check"], ["check", "--json"], ["cost"], ["cost", "--json"], ["cost", "--csv"]),
        *(["check", "--notify"], ["cost", "--url", f"postgresql://joe:{CANARY}@127.0.0.1:1/x"]),
    ):
        done = CliRunner().invoke(app, command)
        print(command[:2], done.output)
        said(done.exception)


def main() -> None:
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
    logging.getLogger("agentmetrics").setLevel(logging.DEBUG)
    attempt(lambda: configure(ledger_url=f"joe:{CANARY}@127.0.0.1/db"))
    attempt(lambda: configure(statsd_host=f"joe:{CANARY}@127.0.0.1"))
    configure()
    langchain()
    plain()
    shown()
    logging.getLogger("agentmetrics").debug("all was said")
    print(*(str(path) for path in Path(sys.argv[1]).rglob("*")))


if __name__ == "__main__":
    main()
