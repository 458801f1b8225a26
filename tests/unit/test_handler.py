"""MetricsCallbackHandler, as LangChain and LangGraph drive it."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import math
import pickle
import threading
import uuid
from collections.abc import Iterator
from typing import Any, ClassVar

import anyio
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.documents import Document
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolCall
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    LLMResult,
)
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_core.tracers import context as langchain_context
from langgraph.graph import END, START, MessagesState, StateGraph

import agentmetrics
from agentmetrics import InstrumentedAgent, MemoryRecorder, MetricsCallbackHandler, instrument
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, pipeline_of
from tests.unit.scripted import (
    Chat,
    StreamingChat,
    Text,
    answer,
    assert_settled,
    by,
    calls,
    errors,
    runs,
)

pytestmark = pytest.mark.asyncio_alone


class TestAChatModel:
    def test_a_chat_model_call_is_counted_with_tokens_cost_and_latency(self, recorder, config):
        Chat(answers=[answer(tokens=(1000, 100), model="gpt-4o-2024-08-06")]).invoke("hi", config)
        labels = {"agent_name": "unknown", "provider": "openai", "model": "gpt-4o"}
        assert recorder.value("llm_calls_total", **labels, status="success") == 1
        assert recorder.value("llm_tokens_total", **labels, token_type="input") == 1000
        assert recorder.value("llm_tokens_total", **labels, token_type="output") == 100
        assert recorder.value("llm_cost_usd_total", **labels) == pytest.approx(0.0035)
        assert recorder.histogram("llm_call_cost_usd", **labels).sum == pytest.approx(0.0035)
        assert recorder.histogram("llm_latency_seconds", **labels).count == 1
        assert recorder.histogram("llm_api_latency_seconds", provider="openai").count == 1
        assert recorder.value("llm_input_tokens_last_call", **labels) == 1000
        assert recorder.value("llm_output_tokens_last_call", **labels) == 100
        assert recorder.value("llm_memory_rss_mb", agent_name="unknown") > 1
        assert recorder.value("llm_memory_available_mb") > 1
        assert recorder.value("llm_unpriced_calls_total") == 0
        assert_settled(recorder)

    @pytest.mark.anyio
    async def test_a_chat_model_call_counts_the_same_on_an_event_loop(self, recorder, config):
        await Chat().ainvoke("hi", config)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert by(recorder, "llm_tokens_total", "token_type") == {"input": 10, "output": 5}
        assert_settled(recorder)

    @pytest.mark.anyio
    async def test_a_chat_model_call_shows_as_active_while_it_runs(self, recorder, config):
        model = Chat(started=anyio.Event(), waits_for=anyio.Event())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(model.ainvoke, "hi", config)
            await model.started.wait()
            assert by(recorder, "llm_active_calls", "agent_name", "provider") == {
                ("unknown", "openai"): 1
            }
            assert by(recorder, "agentmetrics_open_runs", "kind") == {"llm": 1}
            model.waits_for.set()
        assert_settled(recorder)

    def test_details_of_tokens_are_subsets(self, recorder, config):
        message = answer(
            tokens=(100, 50),
            input_token_details={"cache_read": 40, "cache_creation": 7, "audio": 5},
            output_token_details={"reasoning": 20, "audio": 3},
        )
        Chat(answers=[message]).invoke("hi", config)
        assert recorder.value("llm_tokens_total") == 150
        assert by(recorder, "llm_token_details_total", "token_detail") == {
            "cache_read": 40,
            "cache_creation": 7,
            "reasoning": 20,
            "audio_input": 5,
            "audio_output": 3,
        }

    def test_a_chat_model_of_anthropic_prices_an_unstreamed_cache_as_a_streamed_one(
        self, recorder, config
    ):
        unstreamed = {
            "cache_creation": 0,
            "ephemeral_5m_input_tokens": 600,
            "ephemeral_1h_input_tokens": 400,
        }
        model = Chat(
            provider="anthropic",
            model="claude-sonnet-4-5",
            answers=[answer(tokens=(1000, 0), input_token_details=unstreamed)],
        )
        model.invoke("hi", config)
        assert by(recorder, "llm_token_details_total", "token_detail") == {"cache_creation": 1000}
        # USD 3.75 and 6.00 a million for five minutes and an hour: anthropic.com/pricing
        assert recorder.value("llm_cost_usd_total") == pytest.approx(600 * 3.75e-6 + 400 * 6e-6)

    def test_a_streamed_model_whose_name_repeats_itself_keeps_it(self, recorder, config):
        chat = StreamingChat(answers=[answer("ok", model="coco")], model="coco")
        list(chat.stream("hi", config))
        assert by(recorder, "llm_calls_total", "model") == {"coco": 1}

    def test_several_choices_bill_once_and_are_served_by_the_model_of_the_output(
        self, recorder, config
    ):
        choices = ChatResult(
            generations=[ChatGeneration(message=answer("a")), ChatGeneration(message=answer("b"))],
            llm_output={"model_name": "gpt-4o-2024-08-06", "token_usage": {"prompt_tokens": 10}},
        )
        Chat(answers=[choices]).invoke("hi", config)
        assert by(recorder, "llm_tokens_total", "model") == {"gpt-4o": 15}
        assert by(recorder, "llm_served_calls_total", "served_model") == {"gpt-4o-2024-08-06": 1}

    def test_a_chat_model_of_an_unknown_provider_has_the_one_that_served(self, recorder):
        handler, message = MetricsCallbackHandler(), answer()
        message.response_metadata = {"model_provider": "openai", "model": "gpt-4o-2024-08-06"}
        for metadata in ({}, {"ls_model_name": "gpt-4o"}):
            for said in (answer(), message, message):  # the first response names neither
                run_id = uuid.uuid4()
                handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=metadata)
                generation = ChatGeneration(message=said)
                handler.on_llm_end(LLMResult(generations=[[generation]]), run_id=run_id)
        assert by(recorder, "llm_calls_total", "provider", "model") == {
            ("unknown", "unknown"): 1,
            ("openai", "gpt-4o-2024-08-06"): 2,
            ("unknown", "gpt-4o"): 1,
            ("openai", "gpt-4o"): 2,
        }

    def test_a_chat_model_that_is_not_told_its_model_has_the_one_asked_for(self, recorder, config):
        Chat(answers=[answer()]).invoke("hi", config)
        assert by(recorder, "llm_calls_total", "model") == {"gpt-4o": 1}

    def test_a_chat_model_without_usage_is_counted_without_tokens(self, recorder, config):
        Chat(answers=[answer(tokens=None)]).invoke("hi", config)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 0
        assert recorder.value("llm_cost_usd_total") == 0
        assert recorder.value("llm_unmetered_calls_total") == 1
        assert recorder.value("llm_unpriced_calls_total") == 0

    def test_a_chat_model_whose_price_nobody_knows_is_counted_as_that_and_costs_nothing(
        self, recorder, config
    ):
        Chat(model="gpt-99").invoke("hi", config)
        assert by(recorder, "llm_unpriced_calls_total", "provider", "model") == {
            ("openai", "gpt-99"): 1
        }
        assert not any(s.name.startswith("llm_cost") for s in recorder.samples())

    def test_a_chat_model_of_a_local_provider_costs_zero_by_declaration(self, recorder, config):
        Chat(provider="ollama", model="llama3").invoke("hi", config)
        assert recorder.histogram("llm_call_cost_usd", provider="ollama").count == 1
        assert recorder.value("llm_unpriced_calls_total") == 0

    def test_batch_counts_each_call(self, recorder, config):
        Chat().batch(["a", "b", "c"], config)
        assert calls(recorder) == {("unknown", "success"): 3}
        assert recorder.value("llm_tokens_total") == 45
        assert_settled(recorder)

    @pytest.mark.anyio
    async def test_abatch_counts_each_call(self, recorder, config):
        await Chat().abatch(["a", "b", "c"], config)
        assert calls(recorder) == {("unknown", "success"): 3}
        assert_settled(recorder)

    def test_an_answer_from_langchains_cache_bills_nothing(self, recorder, config):
        model = Chat(cache=InMemoryCache(), answers=[answer()])
        for _ in range(3):
            model.invoke("hi", config)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 15
        assert by(recorder, "llm_cache_hits_total", "agent_name", "model") == {
            ("unknown", "gpt-4o"): 2
        }
        assert recorder.histogram("llm_latency_seconds").count == 1
        assert_settled(recorder)

    def test_attempts_of_a_retry_are_calls_of_their_own(self, recorder, config):
        model = Chat(answers=[TimeoutError(), answer()]).with_retry(
            retry_if_exception_type=(TimeoutError,), wait_exponential_jitter=False
        )
        model.invoke("hi", config)
        assert calls(recorder) == {("unknown", "error"): 1, ("unknown", "success"): 1}


class TestAnError:
    @pytest.mark.parametrize(
        ("error", "error_type"),
        [
            (TimeoutError(), "timeout"),
            (ConnectionResetError(), "connection"),
            (ValueError("my secret prompt"), "other"),
        ],
    )
    def test_an_error_is_counted_by_type(self, recorder, config, error, error_type):
        with pytest.raises(type(error)):
            Chat(answers=[error]).invoke("hi", config)
        assert calls(recorder) == {("unknown", "error"): 1}
        assert by(recorder, "llm_errors_total", "error_type") == {error_type: 1}
        assert "secret" not in str(recorder.snapshot())
        assert_settled(recorder)

    def test_an_error_that_is_somebody_cancelling_is_no_error(self, recorder, config):
        with pytest.raises(KeyboardInterrupt):
            Chat(answers=[KeyboardInterrupt()]).invoke("hi", config)
        assert calls(recorder) == {("unknown", "cancelled"): 1}
        assert recorder.value("llm_errors_total") == 0

    def test_an_error_after_a_billed_answer_bills_it(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start(
            {}, [[]], run_id=run_id, metadata={"ls_provider": "openai", "ls_model_name": "gpt-4o"}
        )
        billed = LLMResult(generations=[[ChatGeneration(message=answer())]])
        handler.on_llm_error(ValueError(), run_id=run_id, response=billed)
        assert calls(recorder) == {("unknown", "error"): 1}
        assert recorder.value("llm_tokens_total") == 15
        assert recorder.value("llm_cost_usd_total") > 0


class TestAStream:
    def test_a_stream_has_a_time_to_its_first_token_and_for_each_further_one(
        self, recorder, config
    ):
        model = StreamingChat(answers=[answer("hello", tokens=(10, 5))])
        assert "".join(chunk.text for chunk in model.stream("hi", config)) == "hello"
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 15
        first = recorder.histogram("llm_time_to_first_token_seconds")
        further = recorder.histogram("llm_time_per_output_token_seconds")
        latency = recorder.histogram("llm_latency_seconds")
        assert (first.count, further.count) == (1, 1)
        assert first.sum + 4 * further.sum == pytest.approx(latency.sum)

    @pytest.mark.anyio
    async def test_a_stream_counts_the_same_on_an_event_loop(self, recorder, config):
        model = StreamingChat()
        assert len([chunk async for chunk in model.astream("hi", config)]) == 6
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1
        assert recorder.value("llm_tokens_total") == 15
        assert_settled(recorder)

    def test_a_stream_of_events_has_its_first_token_too(self, recorder, config):
        stream = StreamingChat().stream_events("hi", config, version="v3")
        assert str(stream.text) == "hello"
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1
        assert recorder.value("llm_tokens_total") == 15
        assert_settled(recorder)

    def test_a_stream_that_its_reader_leaves_is_cancelled(self, recorder, config):
        stream: Any = StreamingChat().stream("hi", config)
        next(stream)
        stream.close()
        assert calls(recorder) == {("unknown", "cancelled"): 1}
        assert_settled(recorder)

    def test_a_stream_that_breaks_off_is_an_error(self, recorder, config):
        with pytest.raises(ConnectionResetError):
            list(StreamingChat(fails_after=2).stream("hi", config))
        assert calls(recorder) == {("unknown", "error"): 1}
        assert by(recorder, "llm_errors_total", "error_type") == {"connection": 1}
        assert_settled(recorder)

    @pytest.mark.parametrize("output_tokens", [0, 1])
    def test_a_stream_of_one_token_has_no_time_per_further_token(
        self, recorder, config, output_tokens
    ):
        model = StreamingChat(answers=[answer("a", tokens=(10, output_tokens))])
        list(model.stream("hi", config))
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1
        assert not any("per_output_token" in s.name for s in recorder.samples())

    @pytest.mark.parametrize(
        ("chunk", "counts"),
        [
            (AIMessageChunk(content=""), False),
            (AIMessageChunk(content="", additional_kwargs={"role": "assistant"}), False),
            (AIMessageChunk(content="", additional_kwargs={"reasoning_content": "hm"}), True),
            (AIMessageChunk(content=[{"type": "text", "text": "a"}]), True),
            (
                AIMessageChunk(
                    content="", tool_call_chunks=[{"name": "f", "args": "", "id": "1", "index": 0}]
                ),
                True,
            ),
        ],
    )
    def test_a_stream_begins_with_its_first_chunk_that_carries_something(
        self, recorder, chunk, counts
    ):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        generation = ChatGenerationChunk(message=chunk)
        handler.on_llm_new_token("", chunk=generation, run_id=run_id)
        handler.on_llm_end(LLMResult(generations=[[]]), run_id=run_id)
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        streamed = any("first_token_seconds_count" in s.name for s in recorder.samples())
        assert streamed == counts

    def test_a_stream_of_text_chunks_begins_with_the_first(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_llm_start({}, ["hi"], run_id=run_id)
        handler.on_llm_new_token("", chunk=None, run_id=run_id)
        handler.on_llm_new_token("a", run_id=run_id)
        handler.on_llm_new_token("b", run_id=run_id)
        handler.on_llm_end(LLMResult(generations=[[]]), run_id=run_id)
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 1

    def test_a_token_of_a_call_that_nobody_saw_begin_is_ignored(self, recorder):
        handler = MetricsCallbackHandler()
        handler.on_llm_new_token("a", run_id=uuid.uuid4())
        handler.on_stream_event({"event": "content-block-delta"}, run_id=uuid.uuid4())
        assert recorder.value("llm_calls_total") == 0
        assert errors(recorder) == {}

    @pytest.fixture
    def run(self, recorder):
        """Drives one streamed call of a provider: its chunks, and its response."""

        def run(chunks, message, provider="openai", **result):
            handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
            metadata = {"ls_provider": provider, "ls_model_name": "asked"}
            handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=metadata)
            for chunk in chunks:
                generation = ChatGenerationChunk(message=chunk)
                handler.on_llm_new_token(chunk.text, chunk=generation, run_id=run_id)
            handler.on_llm_end(
                LLMResult(generations=[[ChatGeneration(message=message)]], **result), run_id=run_id
            )

        return run

    @pytest.mark.parametrize(
        ("provider", "tokens"), [("openai", (47, 2)), ("deepseek", (47, 2)), ("mine", (47, 2))]
    )
    def test_a_stream_that_tells_its_usage_so_far_has_that_of_the_last_chunk(
        self, recorder, run, provider, tokens
    ):
        def told(text, output):
            usage = answer(tokens=(47, output)).usage_metadata
            whose = {"model_provider": provider}
            return AIMessageChunk(content=text, usage_metadata=usage, response_metadata=whose)

        chunks = [told("a", 1), AIMessageChunk(content="b"), told("", 2)]
        run(chunks, answer(tokens=(94, 3)))
        found = by(recorder, "llm_tokens_total", "token_type")
        assert (found["input"], found["output"]) == tokens
        assert errors(recorder) == {}

    def test_a_stream_that_tells_impossible_usage_so_far_is_no_worse_for_it(self, recorder, run):
        wrong = AIMessageChunk(content="a", response_metadata={"model_provider": "openai"})
        wrong.usage_metadata = {"input_tokens": -1, "output_tokens": 0, "total_tokens": -1}
        run([wrong, wrong], answer(tokens=(10, 5)))
        assert recorder.value("llm_tokens_total") == 15
        assert errors(recorder) == {"on_llm_new_token": 1}

    @pytest.mark.parametrize("usage", [(10, 5), None])
    @pytest.mark.parametrize(
        ("named", "model"), [("o3" * 3, "o3"), ("gpt-4o", "gpt-4o"), ("aab" * 2, "aab"), ("", "")]
    )
    def test_a_stream_whose_choices_each_name_the_model_has_it_once(
        self, recorder, run, named, model, usage
    ):
        run([AIMessageChunk(content="a")], answer(tokens=usage, model=named))
        assert by(recorder, "llm_served_calls_total", "served_model") == (
            {model: 1} if model else {}
        )
        assert by(recorder, "llm_calls_total", "model") == {"asked": 1}

    def test_a_stream_whose_package_passed_over_an_error_is_an_error(self, recorder, run):
        message = answer(tokens=None)
        message.response_metadata = {"finish_reason": "error", "model_provider": "openrouter"}
        run([AIMessageChunk(content="a")], message, provider="openrouter")
        assert calls(recorder) == {("unknown", "error"): 1}
        assert by(recorder, "llm_errors_total", "error_type") == {"server_error": 1}
        assert errors(recorder) == {}
        assert_settled(recorder)

    def test_a_stream_that_broke_off_after_a_passed_over_error_has_the_one_that_was_raised(
        self, recorder
    ):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        metadata = {"ls_provider": "openrouter", "ls_model_name": "asked"}
        handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=metadata)
        message = answer(tokens=None)
        message.response_metadata = {"finish_reason": "error"}
        so_far = LLMResult(generations=[[ChatGeneration(message=message)]])
        handler.on_llm_error(ConnectionResetError(), run_id=run_id, response=so_far)
        assert by(recorder, "llm_errors_total", "error_type") == {"connection": 1}
        assert errors(recorder) == {}


class TestTheProvidersOwnTime:
    @pytest.fixture
    def run(self, recorder):
        """Drives one call of a provider; the sum of its API latency."""

        def run(served, provider="openai", streams=False, status="success", tokens=(10, 5)):
            handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
            metadata = {"ls_provider": provider, "ls_model_name": "gpt-4o"}
            handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=metadata)
            if streams:
                handler.on_llm_new_token("a", run_id=run_id)
            message = answer(tokens=tokens)
            message.response_metadata = served
            response = LLMResult(generations=[[ChatGeneration(message=message)]])
            if status == "success":
                handler.on_llm_end(response, run_id=run_id)
            else:
                handler.on_llm_error(ValueError(), run_id=run_id, response=response)
            assert errors(recorder) == {}
            return recorder.histogram("llm_api_latency_seconds", provider=provider).sum

        return run

    HEADERS: ClassVar = {"headers": {"openai-processing-ms": "60000"}}

    @pytest.mark.parametrize("tokens", [(10, 5), None])
    def test_the_providers_own_time_is_the_api_latency(self, run, tokens):
        assert run(self.HEADERS, tokens=tokens) == 60

    def test_the_providers_own_time_is_the_api_latency_of_a_call_that_failed_after_it(self, run):
        assert run(self.HEADERS, status="error") == 60

    def test_the_providers_own_time_leaves_the_callers_view_as_it_is(self, run, recorder):
        run(self.HEADERS)
        assert recorder.histogram("llm_latency_seconds").sum < 60

    def test_the_providers_own_time_of_headers_is_not_that_of_a_stream(self, run):
        assert 0 < run(self.HEADERS, streams=True) < 60

    @pytest.mark.parametrize("headers", [None, {}, "text", {"openai-processing-ms": "soon"}])
    def test_the_providers_own_time_that_nobody_reports_is_the_callers_view(self, run, headers):
        assert 0 < run({"headers": headers}) < 60

    def test_the_providers_own_time_is_groqs_in_the_queue_and_at_work(self, run):
        times = {"token_usage": {"queue_time": 20.5, "total_time": 40}}
        assert run(times, provider="groq") == 60.5
        assert 0 < run(times, provider="openai") < 60


class TestATextModel:
    def test_a_text_model_call_takes_its_usage_from_the_output(self, recorder, config):
        Text(output={"token_usage": {"prompt_tokens": 7, "completion_tokens": 3}}).invoke(
            "hi", config
        )
        assert calls(recorder) == {("unknown", "success"): 1}
        assert by(recorder, "llm_tokens_total", "model", "token_type") == {
            ("gpt-3.5-turbo-instruct", "input"): 7,
            ("gpt-3.5-turbo-instruct", "output"): 3,
        }

    def test_a_text_model_call_has_the_model_that_was_asked_for(self, recorder, config):
        output = {"model_name": "the class's default", "token_usage": {"prompt_tokens": 1}}
        Text(output=output, model="davinci").invoke("hi", config)
        assert by(recorder, "llm_calls_total", "model") == {"davinci": 1}

    def test_a_text_model_call_that_asked_for_none_has_the_model_of_its_output(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_llm_start({}, ["hi"], run_id=run_id)
        output = {"model_name": "davinci"}
        response = LLMResult(generations=[[Generation(text="")]], llm_output=output)
        handler.on_llm_end(response, run_id=run_id)
        assert by(recorder, "llm_calls_total", "model") == {"davinci": 1}

    def test_a_text_model_call_is_served_by_the_model_that_its_generation_names(
        self, recorder, config
    ):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        metadata = {"ls_provider": "ollama", "ls_model_name": "llama3"}
        handler.on_llm_start({}, ["hi"], run_id=run_id, metadata=metadata)
        generation = Generation(text="", generation_info={"model": "llama3:8b"})
        handler.on_llm_end(LLMResult(generations=[[generation]]), run_id=run_id)
        assert by(recorder, "llm_calls_total", "model") == {"llama3": 1}
        assert by(recorder, "llm_served_calls_total", "served_model") == {"llama3:8b": 1}

    def test_a_text_model_with_several_prompts_is_several_calls(self, recorder, config):
        Text().generate(["a", "b"], callbacks=config["callbacks"])
        assert recorder.value("llm_calls_total") == 2
        assert_settled(recorder)

    def test_a_text_model_called_directly_has_the_provider_of_its_parameters(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_llm_start(
            {},
            ["hi"],
            run_id=run_id,
            invocation_params={"_type": "openai", "model_name": "davinci"},
        )
        handler.on_llm_end(LLMResult(generations=[[Generation(text="")]]), run_id=run_id)
        assert by(recorder, "llm_calls_total", "provider", "model") == {("openai", "davinci"): 1}

    @pytest.mark.anyio
    async def test_a_text_model_counts_on_an_event_loop_too(self, recorder, config):
        await Text().ainvoke("hi", config)
        assert recorder.value("llm_calls_total", status="success") == 1
        assert_settled(recorder)


class TestTools:
    def test_tools_are_counted_by_name_and_status(self, recorder, config):
        @tool
        def search(query: str) -> str:
            """Search."""
            if query == "bad":
                raise ValueError("my secret argument")
            return "found"

        search.invoke("good", config)
        with pytest.raises(ValueError, match="secret"):
            search.invoke("bad", config)
        found = by(recorder, "tool_executions_total", "agent_name", "tool_name", "status")
        assert found == {
            ("unknown", "search", "success"): 1,
            ("unknown", "search", "error"): 1,
        }
        assert recorder.histogram("tool_execution_duration_seconds", tool_name="search").count == 2
        assert "secret" not in str(recorder.snapshot())
        assert_settled(recorder)

    def test_tools_show_as_active_while_they_run(self, recorder, config):
        seen = []

        @tool
        def look(query: str) -> str:
            """Look."""
            seen.append(by(recorder, "tool_executions_active", "tool_name"))
            return ""

        look.invoke("", config)
        assert seen == [{"look": 1}]
        assert_settled(recorder)

    @pytest.mark.parametrize(
        ("name", "serialized", "shown"),
        [("a", {"name": "b"}, "a"), (None, {"name": "b"}, "b"), (None, None, "unknown")],
    )
    def test_tools_have_the_name_of_the_run_or_of_the_tool(self, recorder, name, serialized, shown):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_tool_start(serialized, "", run_id=run_id, name=name)
        handler.on_tool_end("", run_id=run_id)
        assert by(recorder, "tool_executions_total", "tool_name") == {shown: 1}


class Shelf(BaseRetriever):
    fails: bool = False

    def _get_relevant_documents(self, query, *, run_manager):
        if self.fails:
            raise ConnectionResetError
        return [Document("my secret document")] * 3


class TestRetrievers:
    def test_retrievers_are_counted_with_their_documents(self, recorder, config):
        Shelf().invoke("q", config)
        labels = {"agent_name": "unknown", "retriever": "Shelf"}
        assert recorder.value("retriever_queries_total", **labels, status="success") == 1
        assert recorder.histogram("retriever_documents", **labels).sum == 3
        assert recorder.histogram("retriever_query_duration_seconds", **labels).count == 1
        assert "secret" not in str(recorder.snapshot())
        assert_settled(recorder)

    def test_retrievers_that_fail_have_no_documents(self, recorder, config):
        with pytest.raises(ConnectionResetError):
            Shelf(fails=True).invoke("q", config)
        assert by(recorder, "retriever_queries_total", "status") == {"error": 1}
        assert not any(s.name.startswith("retriever_documents") for s in recorder.samples())
        assert_settled(recorder)

    def test_retrievers_whose_documents_cannot_be_counted_still_count(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_retriever_start({}, "q", run_id=run_id)
        handler.on_retriever_end(None, run_id=run_id)  # type: ignore[arg-type]
        assert by(recorder, "retriever_queries_total", "status") == {"success": 1}
        assert errors(recorder) == {"on_retriever_end": 1}


def graph_of(node, name: str | None = None):
    """A LangGraph graph of one node called ``writing``."""
    graph = StateGraph(MessagesState)
    graph.add_node("writing", node)
    graph.add_edge(START, "writing")
    graph.add_edge("writing", END)
    return graph.compile(name=name) if name else graph.compile()


def calling(model):
    return lambda state: {"messages": [model.invoke("hi")]}


class TestTheEventLoop:
    @pytest.mark.anyio
    async def test_tools_and_retrievers_count_the_same_on_an_event_loop(self, recorder, config):
        @tool
        async def search(query: str) -> str:
            """Search."""
            return ""

        await search.ainvoke("x", config)
        await Shelf().ainvoke("q", config)
        assert by(recorder, "tool_executions_total", "status") == {"success": 1}
        assert by(recorder, "retriever_queries_total", "status") == {"success": 1}
        assert_settled(recorder)

    @pytest.mark.anyio
    async def test_calls_cancelled_by_a_timeout_of_the_event_loop_are_counted(
        self, recorder, config
    ):
        model = Chat(waits_for=anyio.Event())
        for _ in range(20):
            with pytest.raises(TimeoutError):
                with anyio.fail_after(0.001):
                    await model.ainvoke("hi", config)
        await anyio.lowlevel.checkpoint()
        gc.collect()
        assert calls(recorder) == {("unknown", "cancelled"): 20}
        assert_settled(recorder)


class TestChains:
    def test_chains_have_no_metrics_of_their_own_and_leave_nothing_behind(self, recorder, config):
        chain = RunnableLambda(lambda x: x) | Chat() | RunnableLambda(lambda x: x)
        RunnableParallel(a=chain, b=chain).invoke("hi", config)
        assert calls(recorder) == {("unknown", "success"): 2}
        assert runs(recorder) == {}
        assert_settled(recorder)

    def test_chains_that_fail_leave_nothing_behind(self, recorder, config):
        with pytest.raises(TimeoutError):
            (RunnableLambda(lambda x: x) | Chat(answers=[TimeoutError()])).invoke("hi", config)
        assert calls(recorder) == {("unknown", "error"): 1}
        assert_settled(recorder)

    @pytest.mark.anyio
    async def test_chains_that_are_cancelled_end_their_calls_too(self, recorder, config):
        model = Chat(started=anyio.Event(), waits_for=anyio.Event())
        task = asyncio.create_task((RunnableLambda(lambda x: x) | model).ainvoke("hi", config))
        await model.started.wait()
        assert recorder.value("llm_active_calls") == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await anyio.lowlevel.checkpoint()  # until then the event loop holds the error
        gc.collect()
        assert calls(recorder) == {("unknown", "cancelled"): 1}
        assert_settled(recorder)


class TestAnAgent:
    """Who a call is put down to: the first of the rules that answers."""

    def test_an_agent_named_to_the_handler_has_everything(self, recorder):
        config = {
            "callbacks": [MetricsCallbackHandler(agent_name="planner")],
            "metadata": {"agent_name": "other"},
        }
        graph_of(calling(Chat()), "graph").invoke({"messages": []}, config)
        assert calls(recorder) == {("planner", "success"): 1}
        assert runs(recorder) == {("planner", "success"): 1}
        assert_settled(recorder)

    RULES = ("handler", "metadata", "create_agent", "around", "graph", "writing", "unknown")

    @pytest.mark.parametrize("first", range(len(RULES)), ids=RULES)
    def test_an_agent_is_the_first_that_answers(self, recorder, first):
        given = self.RULES[first:]
        metadata = {}
        if "metadata" in given:
            metadata["agent_name"] = "metadata"
        if "create_agent" in given:
            metadata["lc_agent_name"] = "create_agent"

        class Around(InstrumentedAgent):
            agent_name = "around"

            def run(self, work):
                return work()

        handler = MetricsCallbackHandler(agent_name="handler" if "handler" in given else None)
        config: RunnableConfig = {"callbacks": [handler], "metadata": metadata}
        work: Any = Chat()
        if "writing" in given:
            work = graph_of(calling(work), "graph" if "graph" in given else None)

        def invoke():
            return work.invoke({"messages": []} if "writing" in given else "hi", config)

        Around().run(invoke) if "around" in given else invoke()
        assert calls(recorder) == {(self.RULES[first], "success"): 1}
        assert_settled(recorder)

    def test_a_named_graph_is_a_run_with_totals(self, recorder, config):
        @tool
        def search(query: str) -> str:
            """Search."""
            return ""

        def node(state):
            search.invoke("x")
            return {"messages": [Chat().invoke("hi"), Chat().invoke("hi")]}

        graph_of(node, "writer").invoke({"messages": []}, config)
        assert runs(recorder) == {("writer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="writer").sum == 2
        assert recorder.histogram("agent_run_tool_calls", agent_name="writer").sum == 1
        assert recorder.histogram("agent_run_tokens", agent_name="writer").sum == 30
        assert recorder.histogram("agent_run_cost_usd", agent_name="writer").sum == pytest.approx(
            recorder.value("llm_cost_usd_total")
        )
        assert by(recorder, "tool_executions_total", "agent_name") == {"writer": 1}
        assert_settled(recorder)

    def test_an_agent_told_to_one_call_has_that_call_and_not_the_run(self, recorder, config):
        def node(state):
            Chat().invoke("hi", {"metadata": {"agent_name": "other"}})
            return {"messages": [Chat().invoke("hi")]}

        graph_of(node, "writer").invoke({"messages": []}, config)
        assert calls(recorder) == {("other", "success"): 1, ("writer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="writer").sum == 1
        assert_settled(recorder)

    def test_an_agent_in_a_graph_inside_a_graph_is_the_nearest(self, recorder, config):
        inner = graph_of(calling(Chat()), "inner")

        def node(state):
            inner.invoke({"messages": []})
            return {"messages": [Chat().invoke("hi")]}

        graph_of(node, "outer").invoke({"messages": []}, config)
        assert calls(recorder) == {("inner", "success"): 1, ("outer", "success"): 1}
        assert_settled(recorder)

    def test_an_agent_that_fails_or_is_interrupted_says_so(self, recorder, config):
        from langgraph.checkpoint.memory import InMemorySaver
        from langgraph.types import interrupt

        def ask(state):
            interrupt("may I?")

        with pytest.raises(TimeoutError):
            graph_of(calling(Chat(answers=[TimeoutError()])), "writer").invoke(
                {"messages": []}, config
            )
        assert runs(recorder) == {("writer", "error"): 1}
        graph = StateGraph(MessagesState)
        graph.add_node("asking", ask)
        graph.add_edge(START, "asking")
        asker = graph.compile(name="asker", checkpointer=InMemorySaver())
        thread: Any = {**config, "configurable": {"thread_id": "1"}}
        asker.invoke({"messages": []}, thread)
        assert runs(recorder)["writer", "error"] == 1
        assert sum(n for (agent, _), n in runs(recorder).items() if agent == "asker") == 1
        assert ("asker", "error") not in runs(recorder)
        assert_settled(recorder)

    def test_an_agent_of_create_agent_has_its_calls_tools_and_runs(self, recorder, config):
        from langchain.agents import create_agent

        @tool
        def search(query: str) -> str:
            """Search."""
            return "found"

        class Tooled(Chat):
            def bind_tools(self, tools, **kwargs):
                return self

        asks = answer("")
        asks.tool_calls = [ToolCall(name="search", args={"query": "x"}, id="1", type="tool_call")]
        agent = create_agent(Tooled(answers=[asks, answer("done")]), [search], name="researcher")
        agent.invoke({"messages": [HumanMessage("hi")]}, config)
        assert calls(recorder) == {("researcher", "success"): 2}
        assert by(recorder, "tool_executions_total", "agent_name", "tool_name") == {
            ("researcher", "search"): 1
        }
        assert runs(recorder) == {("researcher", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 2
        assert recorder.histogram("agent_run_tool_calls").sum == 1
        assert_settled(recorder)

    def test_an_agent_has_a_call_that_was_given_callbacks_of_its_own(self, recorder, config):
        def node(state):
            given: RunnableConfig = {
                "callbacks": [MetricsCallbackHandler()],
                "metadata": {"a": "b"},
            }
            (RunnableLambda(lambda x: x) | Chat()).invoke("hi", given)
            return {"messages": [Chat().invoke("hi", given)]}

        graph_of(node, "writer").invoke({"messages": []}, config)
        assert calls(recorder) == {("writer", "success"): 2}
        assert recorder.histogram("agent_run_llm_calls", agent_name="writer").sum == 2
        assert_settled(recorder)

    @pytest.mark.parametrize("kind", ["graph", "agent"])
    def test_an_agent_has_a_call_in_a_thread_that_was_handed_the_config(
        self, recorder, config, kind
    ):
        """A plain thread has none of the context that it was started in."""

        class Agent(InstrumentedAgent):
            agent_name = "writer"

            def run(self):
                return (RunnableLambda(in_thread) | RunnableLambda(lambda x: x)).invoke("hi")

        def in_thread(value, config: RunnableConfig):
            thread = threading.Thread(target=Chat().invoke, args=("hi", config))
            thread.start()
            thread.join()
            return {"messages": []}

        if kind == "graph":
            graph_of(in_thread, "writer").invoke({"messages": []}, config)
        else:
            Agent().run()
        assert calls(recorder) == {("writer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="writer").sum == 1
        assert_settled(recorder)

    def test_an_agent_of_a_tool_with_a_name_of_its_own_is_not_that_of_what_the_tool_runs(
        self, recorder, config
    ):
        @tool
        def search(query: str) -> str:
            """Search."""
            (RunnableLambda(lambda x: x) | Chat()).invoke("hi")
            return ""

        search.metadata = {"agent_name": "searcher"}  # LangChain hands that to nobody below

        def node(state):
            search.invoke("x")
            return {"messages": []}

        graph_of(node, "writer").invoke({"messages": []}, config)
        assert by(recorder, "tool_executions_total", "agent_name") == {"searcher": 1}
        assert calls(recorder) == {("writer", "success"): 1}
        assert runs(recorder) == {("writer", "success"): 1}
        assert_settled(recorder)

    def test_an_agent_whose_nodes_start_at_once_has_one_run(self, recorder):
        handler, graph, together = MetricsCallbackHandler(), uuid.uuid4(), threading.Barrier(8)
        handler.on_chain_start({}, {}, run_id=graph, name="writer")

        def node():
            run_id, call = uuid.uuid4(), uuid.uuid4()
            together.wait(10)
            handler.on_chain_start(
                {}, {}, run_id=run_id, parent_run_id=graph, tags=["graph:step:1"], name="node"
            )
            handler.on_chat_model_start({}, [[]], run_id=call, parent_run_id=run_id)
            handler.on_llm_end(LLMResult(generations=[]), run_id=call)
            handler.on_chain_end({}, run_id=run_id)

        threads = [threading.Thread(target=node) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        handler.on_chain_end({}, run_id=graph)
        assert runs(recorder) == {("writer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="writer").sum == 8

    def test_an_agent_inside_a_graphs_node_has_its_own_totals(self, recorder, config):
        class Reviewer(InstrumentedAgent):
            def run(self):
                return (RunnableLambda(lambda x: x) | Chat()).invoke("hi")

        def node(state):
            Reviewer().run()
            return {"messages": []}

        graph_of(node).invoke({"messages": []}, config)
        assert calls(recorder) == {("Reviewer", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls", agent_name="Reviewer").sum == 1
        assert_settled(recorder)

    def test_the_sums_of_agents_add_up_to_the_total(self, recorder, config):
        inner = graph_of(calling(Chat()), "inner")
        for work, agent in [(Chat(), None), (inner, None), (inner, "told"), (Chat(), "told")]:
            metadata = {"agent_name": agent} if agent else {}
            payload = "hi" if isinstance(work, Chat) else {"messages": []}
            work.invoke(payload, {**config, "metadata": metadata})
        assert sum(calls(recorder).values()) == recorder.value("llm_calls_total") == 4
        assert calls(recorder) == {
            ("unknown", "success"): 1,
            ("inner", "success"): 1,
            ("told", "success"): 2,
        }


class TestSeveralHandlers:
    def test_several_handlers_count_a_call_once(self, recorder):
        both: RunnableConfig = {"callbacks": [MetricsCallbackHandler(), MetricsCallbackHandler()]}
        StreamingChat().invoke("hi", both)
        list(StreamingChat().stream("hi", both))
        Shelf().invoke("q", both)
        assert recorder.value("llm_calls_total") == 2
        assert recorder.value("llm_tokens_total") == 30
        assert recorder.value("retriever_queries_total") == 1
        assert_settled(recorder)

    def test_several_handlers_count_an_agents_run_once(self, recorder):
        both = [MetricsCallbackHandler(), MetricsCallbackHandler()]
        config = {"callbacks": both, "metadata": {"agent_name": "planner"}}
        graph_of(calling(Chat()), "graph").invoke({"messages": []}, config)
        assert runs(recorder) == {("planner", "success"): 1}
        assert recorder.histogram("agent_run_llm_calls").sum == 1
        assert_settled(recorder)

    def test_several_handlers_of_other_recorders_count_apart(self):
        recorders = [MemoryRecorder(), MemoryRecorder()]
        Chat().invoke("hi", {"callbacks": [MetricsCallbackHandler(each) for each in recorders]})
        assert [recorder.value("llm_calls_total") for recorder in recorders] == [1, 1]


class TestOddEvents:
    def test_an_end_without_a_start_is_ignored(self, recorder):
        handler = MetricsCallbackHandler()
        response = LLMResult(generations=[[ChatGeneration(message=answer())]])
        handler.on_llm_end(response, run_id=uuid.uuid4())
        handler.on_llm_error(ValueError(), run_id=uuid.uuid4())
        handler.on_chain_end({}, run_id=uuid.uuid4())
        handler.on_chain_error(ValueError(), run_id=uuid.uuid4())
        handler.on_tool_end("", run_id=uuid.uuid4())
        handler.on_tool_error(ValueError(), run_id=uuid.uuid4())
        handler.on_retriever_end([], run_id=uuid.uuid4())
        handler.on_retriever_error(ValueError(), run_id=uuid.uuid4())
        assert recorder.value("llm_calls_total") == 0
        assert recorder.value("llm_tokens_total") == 0
        assert errors(recorder) == {}
        assert_settled(recorder)

    def test_a_second_end_is_ignored(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        response = LLMResult(generations=[[ChatGeneration(message=answer())]])
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        handler.on_llm_end(response, run_id=run_id)
        handler.on_llm_end(response, run_id=run_id)
        handler.on_llm_error(ValueError(), run_id=run_id)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 15
        assert_settled(recorder)

    def test_an_end_of_another_kind_leaves_nothing_in_flight(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_tool_start({}, "", run_id=run_id)
        handler.on_llm_end(LLMResult(generations=[]), run_id=run_id)
        del run_id
        gc.collect()
        assert recorder.value("llm_calls_total") == 0
        assert recorder.value("agentmetrics_open_runs") == 0

    def test_a_parent_that_nobody_saw_changes_nothing(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id, parent_run_id=uuid.uuid4())
        handler.on_llm_end(LLMResult(generations=[]), run_id=run_id)
        assert calls(recorder) == {("unknown", "success"): 1}

    @pytest.mark.parametrize(
        "event",
        [
            lambda h: h.on_chat_model_start({}, [[]], run_id=None),
            lambda h: h.on_llm_start({}, [], run_id=None),
            lambda h: h.on_llm_new_token("", run_id=None),
            lambda h: h.on_stream_event({}, run_id=None),
            lambda h: h.on_llm_end(None, run_id=None),
            lambda h: h.on_llm_error(ValueError(), run_id=None),
            lambda h: h.on_chain_start({}, {}, run_id=None),
            lambda h: h.on_chain_end({}, run_id=None),
            lambda h: h.on_chain_error(ValueError(), run_id=None),
            lambda h: h.on_tool_start({}, "", run_id=None),
            lambda h: h.on_tool_end("", run_id=None),
            lambda h: h.on_tool_error(ValueError(), run_id=None),
            lambda h: h.on_retriever_start({}, "", run_id=None),
            lambda h: h.on_retriever_end([], run_id=None),
            lambda h: h.on_retriever_error(ValueError(), run_id=None),
        ],
    )
    def test_odd_events_that_cannot_be_understood_are_counted_and_never_raise(
        self, recorder, event
    ):
        event(MetricsCallbackHandler())
        assert recorder.value("agentmetrics_handler_errors_total") >= 1

    @pytest.mark.parametrize("event", [{}, None, {"event": None}, "text"])
    def test_stream_events_of_no_known_shape_harm_nothing(self, recorder, event):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        handler.on_stream_event(event, run_id=run_id)
        handler.on_llm_end(LLMResult(generations=[]), run_id=run_id)
        assert calls(recorder) == {("unknown", "success"): 1}

    def test_odd_events_are_logged_once_a_kind_and_without_their_text(self, recorder, caplog):
        handler = MetricsCallbackHandler()
        with caplog.at_level(logging.WARNING, "agentmetrics"):
            for _ in range(3):
                handler.on_tool_end("my secret output", run_id=None)  # type: ignore[arg-type]
        assert [record.getMessage() for record in caplog.records] == [
            "could not fully record on_tool_end: AttributeError"
        ]
        assert errors(recorder) == {"on_tool_end": 3}


WRONG = [-1, math.nan, math.inf, "12", "my secret prompt", 1.5, [1], {}, True, 10**400]


class TestBadUsage:
    @pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: str(type(wrong)) + repr(wrong)[:9])
    def test_bad_usage_counts_the_call_and_the_tokens_that_can_be(self, recorder, config, wrong):
        Chat(answers=[answer(input_tokens=wrong)]).invoke("hi", config)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert by(recorder, "llm_tokens_total", "token_type") == {"output": 5}
        assert recorder.value("llm_cost_usd_total") == 0
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert errors(recorder) == {"on_llm_end": 1}
        assert recorder.histogram("llm_latency_seconds").count == 1
        assert_settled(recorder)

    @pytest.mark.parametrize(
        "details",
        [
            {"input_token_details": {"cache_read": 11}},
            {"input_token_details": {"cache_read": -1}},
            {"input_token_details": {"cache_creation": "many"}},
            {"output_token_details": {"reasoning": math.nan}},
            {"output_token_details": "none"},
        ],
    )
    def test_bad_usage_in_the_details_counts_the_call_and_its_tokens_without_a_price(
        self, recorder, config, details
    ):
        Chat(answers=[answer(tokens=(10, 5), **details)]).invoke("hi", config)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 15
        assert recorder.value("llm_token_details_total") == 0
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert errors(recorder) == {"on_llm_end": 1}
        assert_settled(recorder)

    def test_usage_that_is_none_is_unknown_and_no_error(self, recorder, config):
        Chat(answers=[answer(output_tokens=None)]).invoke("hi", config)
        assert by(recorder, "llm_tokens_total", "token_type") == {"input": 10}
        assert recorder.value("llm_cost_usd_total") == 0
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert errors(recorder) == {}

    @pytest.mark.parametrize(
        "response",
        [
            LLMResult(generations=[]),
            LLMResult(generations=[[]]),
            LLMResult(generations=[[Generation(text="")]], llm_output={}),
            LLMResult(generations=[[Generation(text="")]], llm_output={"token_usage": {}}),
        ],
    )
    def test_a_response_without_any_usage_is_a_call_without_tokens(self, recorder, response):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        handler.on_llm_end(response, run_id=run_id)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 0
        assert errors(recorder) == {}

    @pytest.mark.parametrize("response", ["text", 7, object()])
    def test_a_response_that_is_none_still_ends_the_call(self, recorder, response):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        handler.on_llm_end(response, run_id=run_id)
        assert calls(recorder) == {("unknown", "success"): 1}
        assert errors(recorder) == {"on_llm_end": 1}
        assert_settled(recorder)

    @pytest.mark.parametrize("name", ["model", "provider"])
    @pytest.mark.parametrize("wrong", [5, ["gpt"], {"a": 1}, b"gpt", "a\nb" * 5000, object()])
    def test_a_name_that_is_none_is_cleaned_and_the_call_counted(self, recorder, name, wrong):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        metadata = {"ls_provider": "openai", "ls_model_name": "gpt-4o", "agent_name": wrong}
        metadata["ls_provider" if name == "provider" else "ls_model_name"] = wrong
        handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=metadata)
        message = answer()
        message.response_metadata = {"model_name": wrong} if name == "model" else {}
        handler.on_llm_end(
            LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run_id
        )
        assert recorder.value("llm_calls_total", status="success") == 1
        assert recorder.value("llm_tokens_total") == 15
        for sample in recorder.samples():
            assert all(len(text) <= 128 and "\n" not in text for text in sample.labels.values())
        assert_settled(recorder)


class TestExtraLabels:
    @pytest.fixture
    def recorder(self) -> Iterator[MemoryRecorder]:
        """The configured one, with labels of the user's: the tenant and the type of the task."""
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(extra_labels=("tenant", "task_type")))
        with replaced(recorder):
            yield recorder

    def test_extra_labels_come_from_the_run_metadata_or_the_context_or_are_empty(
        self, recorder, handler, config
    ):
        with agentmetrics.labels(tenant="acme", unheard_of="x"):
            Chat().invoke("hi", {"callbacks": [handler], "metadata": {"task_type": "summary"}})
            Chat().invoke("hi", {"callbacks": [handler], "metadata": {"tenant": "told"}})
        Chat().invoke("hi", config)
        assert by(recorder, "llm_tokens_total", "tenant", "task_type") == {
            ("acme", "summary"): 15,
            ("told", ""): 15,
            ("", ""): 15,
        }

    def test_extra_labels_nest_and_end_with_their_block(self, recorder, config):
        with agentmetrics.labels(tenant="acme"):
            with agentmetrics.labels(task_type="review"):
                Chat().invoke("hi", config)
            Chat().invoke("hi", config)
        assert by(recorder, "llm_calls_total", "tenant", "task_type") == {
            ("acme", "review"): 1,
            ("acme", ""): 1,
        }

    def test_extra_labels_are_on_tools_retrievers_and_agents_too(self, recorder, config):
        @tool
        def search(query: str) -> str:
            """Search."""
            return ""

        with agentmetrics.labels(tenant="acme"):
            search.invoke("x", config)
            Shelf().invoke("q", config)
            Chat().invoke("hi", config)
            graph_of(calling(Chat()), "writer").invoke({"messages": []}, config)
        for metric in (
            "tool_executions_total",
            "retriever_queries_total",
            "agent_runs_total",
            "llm_calls_total",
        ):
            assert set(by(recorder, metric, "tenant")) == {"acme"}
        assert_settled(recorder)

    def test_extra_labels_are_cleaned(self, recorder, handler):
        odd: Any = {"tenant": ["my", "secret"], "task_type": 3}
        Chat().invoke("hi", {"callbacks": [handler], "metadata": odd})
        assert by(recorder, "llm_calls_total", "tenant", "task_type") == {("invalid", "3"): 1}

    @pytest.mark.anyio
    async def test_extra_labels_reach_the_tasks_started_inside(self, recorder, config):
        async def work(tenant):
            with agentmetrics.labels(tenant=tenant):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(Chat().ainvoke, "hi", config)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, "a")
            tasks.start_soon(work, "b")
        assert by(recorder, "llm_calls_total", "tenant") == {"a": 1, "b": 1}


class TestTheHandlerItself:
    def test_the_handler_records_in_the_recorder_it_was_given(self, recorder):
        own = MemoryRecorder()
        handler = MetricsCallbackHandler(recorder=own, agent_name="planner")
        Chat().invoke("hi", {"callbacks": [handler]})
        assert calls(own) == {("planner", "success"): 1}
        assert calls(recorder) == {}

    def test_the_handler_stays_itself_when_a_chain_is_copied(self):
        handler = MetricsCallbackHandler(MemoryRecorder())
        assert copy.deepcopy({"callbacks": [handler]})["callbacks"][0] is handler
        assert copy.copy(handler) is handler

    def test_the_handler_is_pickled_without_its_recorder(self, recorder):
        handler = MetricsCallbackHandler(MemoryRecorder(), agent_name="planner")
        again = pickle.loads(pickle.dumps(handler))
        Chat().invoke("hi", {"callbacks": [again]})
        assert calls(recorder) == {("planner", "success"): 1}

    def test_the_handler_serves_many_threads_at_once(self, recorder, config):
        together = threading.Barrier(8)

        def work():
            together.wait(10)
            for _ in range(25):
                Chat().invoke("hi", config)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert calls(recorder) == {("unknown", "success"): 200}
        assert recorder.value("llm_tokens_total") == 200 * 15
        assert_settled(recorder)

    def test_the_handler_keeps_no_text_of_anybody(self, recorder, config):
        with pytest.raises(ValueError, match="secret"):
            (Chat(answers=[answer("secret reply")]) | RunnableLambda(_fail)).invoke(
                "secret prompt", config
            )
        for _ in range(2):
            assert "secret" not in str(recorder.snapshot())


def _fail(value):
    raise ValueError("secret")


class TestInstrument:
    def test_instrument_records_every_run_of_the_process(self, recorder, hooks):
        instrument()
        Chat().invoke("hi")
        graph_of(calling(Chat()), "writer").invoke({"messages": []})
        assert calls(recorder) == {("unknown", "success"): 1, ("writer", "success"): 1}
        assert_settled(recorder)

    def test_instrument_gives_way_to_a_handler_that_is_passed(self, recorder, hooks):
        own = MemoryRecorder()
        instrument()
        Chat().invoke("hi", {"callbacks": [MetricsCallbackHandler(own)]})
        assert (calls(own), calls(recorder)) == ({("unknown", "success"): 1}, {})

    def test_instrument_attaches_once(self, recorder, hooks):
        first = instrument(agent_name="planner")
        hooked = len(langchain_context._configure_hooks)
        assert instrument(agent_name="planner") is first
        assert len(langchain_context._configure_hooks) == hooked
        Chat().invoke("hi")
        assert calls(recorder) == {("planner", "success"): 1}

    def test_instrument_refuses_another_recorder_or_name_later(self, recorder, hooks):
        instrument()
        with pytest.raises(ValueError, match="already called with another recorder"):
            instrument(MemoryRecorder())
        with pytest.raises(ValueError, match="already called with another recorder"):
            instrument(agent_name="planner")

    def test_instrument_leaves_agents_their_own_recorder(self, recorder, hooks):
        own = MemoryRecorder()

        class Reviewer(InstrumentedAgent):
            recorder = own

            def run(self):
                return Chat().invoke("hi")

        instrument()
        Reviewer().run()
        assert calls(own) == {("Reviewer", "success"): 1}
        assert calls(recorder) == {}
