"""The rows of the table: what is measured, on whom, and how often."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time
from typing import Any

import genai_prices
import prometheus_client
from genai_prices.data_snapshot import get_snapshot
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from prometheus_client import CollectorRegistry, generate_latest

from agentmetrics import Ledger, MemoryRecorder, PrometheusRecorder, Usage
from agentmetrics.pricing import Prices
from agentmetrics.pricing.names import Name
from agentmetrics.pricing.source import Listing
from benchmarks import contenders as who
from benchmarks import looking as looked_at
from benchmarks.bare import BareHandler
from benchmarks.contenders import BARE, CALC_PRICE, HAND, LABELS, NOTHING, PRICER
from benchmarks.handwritten import HandwrittenHandler, NoopHandler
from benchmarks.measure import Measured, Row, Timer, interleaved
from benchmarks.workload import (
    METADATA,
    MODEL,
    SERVED,
    agent_names,
    answer,
    call_timer,
    calls_of,
    drive,
    model_timer,
    stream_timer,
    token_timer,
)

SERIES_PER_AGENT = 26
SCRAPED_SERIES = 10_000
THREADS = 8
NEW_AGENTS = 5_000
NEW_AGENT = "memory, a new agent"
NEW_MODEL = "memory, a new model"
HAND_NEW_AGENT = "hand-written, a new agent"
HAND_NEW_MODEL = "hand-written, a new model"
LEDGER = "memory, and a ledger"


def call(rounds: int) -> Row:
    """One call: its start and its end."""
    handlers = {
        HAND: who.handwritten(),
        LABELS: who.labels_each_time(),
        NOTHING: NoopHandler(),
        BARE: BareHandler(),
        "noop": who.noop(),
        "memory": who.memory(),
        "prometheus": who.prometheus(),
        "statsd": who.statsd(),
        "memory + prometheus": who.fanout(),
    }
    timers = {name: call_timer(handler) for name, handler in handlers.items()}
    return interleaved(timers, loops=200, rounds=rounds)


def multiprocess(rounds: int) -> Row:
    """One call in Prometheus' multiprocess mode, in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.multiprocess", str(rounds)],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": directory},
            stdout=subprocess.PIPE,
            check=True,
        )
    return {name: Measured(name, tuple(v)) for name, v in json.loads(answer.stdout).items()}


def ledger(rounds: int) -> Row:
    """One call on a recorder that a ledger is attached to; its thread writes meanwhile."""
    recorder = MemoryRecorder()
    with (
        tempfile.TemporaryDirectory() as directory,
        Ledger(f"sqlite:///{directory}/spend.db") as spend,
    ):
        spend.attach(recorder)
        timers = {
            "memory": call_timer(who.memory()),
            LEDGER: call_timer(who.handler_on(recorder)),
        }
        return interleaved(timers, loops=1000, rounds=rounds)


def token(rounds: int) -> Row:
    """One token of a stream whose first token has been seen."""
    handlers = {
        HAND: who.handwritten(),
        NOTHING: NoopHandler(),
        "memory": who.memory(),
        "prometheus": who.prometheus(),
        "statsd": who.statsd(),
    }
    timers = {name: token_timer(handler) for name, handler in handlers.items()}
    return interleaved(timers, loops=2000, rounds=rounds)


def stream(rounds: int) -> Row:
    """One streamed call of 100 tokens, start and end included."""
    handlers = {HAND: who.handwritten(), "memory": who.memory(), "prometheus": who.prometheus()}
    timers = {name: stream_timer(handler, tokens=100) for name, handler in handlers.items()}
    return interleaved(timers, loops=20, rounds=rounds)


def label_sets(rounds: int) -> Row:
    """One call on recorders that hold this many agents, each call being another agent's."""
    many = who.MANY_SERIES
    timers = {
        "memory, 1": call_timer(who.memory(many), 1),
        "memory, 100": call_timer(who.memory(many), 100),
        "memory, 10 000": call_timer(who.memory(many), 10_000),
        "memory, 10 000, default limit of series": call_timer(who.memory(), 10_000),
        "prometheus, 1": call_timer(who.prometheus(many), 1),
        "prometheus, 10 000": call_timer(who.prometheus(many), 10_000),
        "hand-written, 1": call_timer(who.handwritten(), 1),
        "hand-written, 10 000": call_timer(who.handwritten(), 10_000),
    }
    return interleaved(timers, loops=250, rounds=rounds, warmup=10_000)


def new_label_sets(rounds: int) -> Row:
    """The first call of an agent, and that of a model with its price, beside an ordinary call."""
    names, many = agent_names(NEW_AGENTS), NEW_AGENTS
    timers = {
        "memory": call_timer(who.memory()),
        HAND: call_timer(who.handwritten()),
        NEW_AGENT: call_timer(who.memory(many), len(names)),
        "prometheus, a new agent": call_timer(who.prometheus(many), len(names)),
        HAND_NEW_AGENT: call_timer(who.handwritten(), len(names)),
        NEW_MODEL: model_timer(who.memory(many), listed_models()),
        HAND_NEW_MODEL: model_timer(who.handwritten(), listed_models()),
    }
    return interleaved(timers, loops=2, rounds=rounds)


def listed_models() -> list[str]:
    """The models of one provider that have a price, in a list of its own: ours knows none yet."""
    snapshot = get_snapshot()
    (openai,) = (each for each in snapshot.providers if each.id == "openai")
    listing = Listing(snapshot)
    listed = {model.id: listing.find(Name("openai", model.id)) for model in openai.models}
    return [model for model, entry in listed.items() if entry and entry.price("", "openai").bands]


def threads(rounds: int) -> Row:
    """One call in wall time, made by one thread or by eight at once for the same agent."""
    handlers = {HAND: who.handwritten(), "memory": who.memory(), "prometheus": who.prometheus()}
    timers: dict[str, Timer] = {}
    for name, handler in handlers.items():
        timers[f"{name}, 1"] = _threaded(handler, 1)
        timers[f"{name}, {THREADS}"] = _threaded(handler, THREADS)
    return interleaved(timers, loops=4000, rounds=rounds)


def _threaded(handler: Any, count: int) -> Timer:
    def timer(loops: int) -> float:
        shares = [calls_of(["agent-0"], 0, loops // count) for _ in range(count)]
        ready = threading.Barrier(count + 1)

        def work(calls: Any) -> None:
            ready.wait()
            drive(handler, calls)

        workers = [threading.Thread(target=work, args=(share,)) for share in shares]
        for worker in workers:
            worker.start()
        ready.wait()
        began = perf_counter()
        for worker in workers:
            worker.join()
        return perf_counter() - began

    return timer


def scrape(rounds: int) -> Row:
    """One scrape of 10 000 series; prometheus-client's registry has as many of each kind."""
    agents = SCRAPED_SERIES // SERIES_PER_AGENT + 1
    calls = calls_of(agent_names(agents), 0, agents)
    registry = CollectorRegistry()
    drive(HandwrittenHandler(registry), calls)
    recorder = PrometheusRecorder(CollectorRegistry())
    drive(who.handler_on(recorder), calls)
    timers = {
        "prometheus-client": _repeated(lambda: generate_latest(registry)),
        "prometheus": _repeated(recorder.exposition),
        "prometheus-client, with `_created` lines": _repeated(
            _with_created(lambda: generate_latest(registry))
        ),
        "prometheus, with `_created` lines": _repeated(_with_created(recorder.exposition)),
    }
    prometheus_client.disable_created_metrics()
    _check_as_many_lines(generate_latest(registry), recorder.exposition().body)
    try:
        return interleaved(timers, loops=1, rounds=rounds)
    finally:
        prometheus_client.enable_created_metrics()


def recycled(rounds: int) -> Row:
    """One scrape of ten workers' files, alone and after 10 000 workers that came and went."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.recycled", str(rounds)],
        stdout=subprocess.PIPE,
        check=True,
    )
    return {name: Measured(name, tuple(v)) for name, v in json.loads(answer.stdout).items()}


def looking(rounds: int) -> Row:
    """One agent run while nobody looks, while a page does, and while ``top`` does."""
    return looked_at.measured(rounds, AnswersAtOnce())


def _with_created(scraped: Callable[[], object]) -> Callable[[], None]:
    def scrape() -> None:
        prometheus_client.enable_created_metrics()
        scraped()
        prometheus_client.disable_created_metrics()

    return scrape


def _check_as_many_lines(theirs: bytes, ours: bytes) -> None:
    def lines(body: bytes) -> int:
        # Ours has more gauges: the oldest call of each agent, and two of the machine's memory.
        ours_alone = (b"llm_oldest_", b"llm_memory_available_")
        return sum(
            line.startswith(b"llm_") and not line.startswith(ours_alone)
            for line in body.splitlines()
        )

    if lines(theirs) != lines(ours):
        raise AssertionError(f"{lines(theirs)} lines against {lines(ours)}")


def pricing(rounds: int) -> Row:
    """The cost of one call's tokens in USD, once the model's rates are known."""
    prices = Prices()
    usage = Usage.plain(412, 87)
    detailed = Usage(412, 87, cache_read_tokens=300, reasoning_tokens=40)
    counted = genai_prices.Usage(input_tokens=412, output_tokens=87)
    plain = prices.pricer("openai", SERVED)
    tiered = prices.pricer("openai", SERVED, "priority")
    by_input = prices.pricer("anthropic", "claude-sonnet-4-5")
    by_time = prices.pricer("deepseek", "deepseek-chat")
    timers = {
        CALC_PRICE: _repeated(
            lambda: genai_prices.calc_price(counted, SERVED, provider_id="openai")
        ),
        "Prices().cost_usd": _repeated(lambda: prices.cost_usd("openai", SERVED, usage)),
        PRICER: _repeated(lambda: plain.price.cost_usd(usage)),
        f"{PRICER}, cached and reasoning tokens": _repeated(lambda: plain.price.cost_usd(detailed)),
        f"{PRICER}, a service tier": _repeated(lambda: tiered.price.cost_usd(usage)),
        f"{PRICER}, rates by the input's size": _repeated(lambda: by_input.price.cost_usd(usage)),
        f"{PRICER}, rates by the time of day": _repeated(lambda: by_time.price.cost_usd(usage)),
    }
    return interleaved(timers, loops=200, rounds=rounds)


def dispatch(rounds: int) -> Row:
    """One ``invoke`` of a chat model that answers at once, through LangChain's own dispatch."""
    handlers = {
        HAND: [who.handwritten()],
        "no handler": [],
        NOTHING: [NoopHandler()],
        "memory": [who.memory()],
        "prometheus": [who.prometheus()],
    }
    model = AnswersAtOnce()
    timers: dict[str, Timer] = {}
    for name, callbacks in handlers.items():
        config: Any = {"callbacks": callbacks, "metadata": {"agent_name": "agent-0"}}
        timers[name] = _repeated(partial(model.invoke, "hi", config=config))
    return interleaved(timers, loops=40, rounds=rounds)


class AnswersAtOnce(BaseChatModel):
    """A chat model that costs nothing but LangChain itself."""

    @property
    def _llm_type(self) -> str:
        return "openai-chat"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {name: METADATA[name] for name in ("ls_provider", "ls_model_name", "ls_model_type")}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[_ANSWER], llm_output={"model_name": MODEL})


_ANSWER = ChatGeneration(message=answer())


def _repeated(function: Callable[[], object]) -> Timer:
    def timer(loops: int) -> float:
        began = process_time()
        for _ in range(loops):
            function()
        return process_time() - began

    return timer
