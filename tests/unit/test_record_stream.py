"""record_stream: what it passes on, when it sees the first token, and what it is not for."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import pytest

from agentmetrics import track_call
from agentmetrics.sources import streams as streams_module
from tests.unit.scripted import assert_settled, by

USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


def said(**delta: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


ROLE = said(role="assistant", content="")
END = {"model": "gpt-4o", "choices": [], "usage": USAGE}
CHUNKS = [ROLE, said(content="Hi"), said(content="!"), END]


def chunks() -> Iterator[dict[str, Any]]:
    yield from CHUNKS


async def async_chunks() -> AsyncGenerator[dict[str, Any], None]:
    for chunk in CHUNKS:
        yield chunk


def tracked(recorder: Any) -> track_call:
    return track_call("openai", "gpt-4o", recorder=recorder)


def statuses(recorder: Any) -> dict[str, float]:
    return by(recorder, "llm_calls_total", "status")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_every_chunk_is_passed_on_as_it_is(recorder):
    with tracked(recorder) as call:
        passed = list(call.record_stream(chunks()))
    assert all(one is another for one, another in zip(passed, CHUNKS, strict=True))
    assert by(recorder, "llm_tokens_total", "token_type") == {"input": 10, "output": 5}


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "Hi"},
        {"reasoning_content": "Hm"},
        {"reasoning": "Hm"},
        {"refusal": "No"},
        {"tool_calls": [{"index": 0, "function": {"name": "weigh", "arguments": ""}}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]},
        {"audio": {"data": "aGk="}},
    ],
)
def test_the_first_token_is_the_first_chunk_that_says_something(recorder, monkeypatch, delta):
    monkeypatch.setattr(streams_module, "perf_counter", clock := Clock())
    with tracked(recorder) as call:
        started = clock.now = call._call.started + 1.0
        for chunk in call.record_stream(iter([ROLE, ROLE, said(**delta), END])):
            clock.now += 10.0
            assert bool(call._call.first_token) == (chunk != ROLE)
        assert call._call.first_token == started + 20.0


def test_the_longest_gap_is_between_chunks_after_the_first_token(recorder, monkeypatch):
    monkeypatch.setattr(streams_module, "perf_counter", clock := Clock())
    with tracked(recorder) as call:
        stream = call.record_stream(chunks())
        for seconds in (50.0, 1.0, 3.0, 2.0):
            clock.now += seconds
            next(stream)
        assert call._call.longest_gap == 3.0


class TestWhoseStreamIsLeft:
    def test_a_loop_that_is_left_early_is_a_cancelled_call(self, recorder):
        with tracked(recorder) as call:
            for _ in call.record_stream(chunks()):
                break
        assert statuses(recorder) == {"cancelled": 1}
        assert_settled(recorder)

    @pytest.mark.anyio
    async def test_an_async_loop_that_is_left_early_is_too(self, recorder):
        stream = async_chunks()
        async with tracked(recorder) as call:
            async for _ in call.record_stream(stream):
                break
        assert statuses(recorder) == {"cancelled": 1}
        assert_settled(recorder)
        await stream.aclose()

    @pytest.mark.anyio
    async def test_an_async_stream_that_is_read_after_the_block(self, recorder):
        async with tracked(recorder) as call:
            stream = call.record_stream(async_chunks())
        assert [chunk async for chunk in stream] == CHUNKS
        assert statuses(recorder) == {"success": 1}
        assert recorder.value("llm_tokens_total") == 15

    def test_a_generator_around_the_block_that_is_closed_early_is_too(self, recorder):
        def answer() -> Generator[Any, None, None]:
            with tracked(recorder) as call:
                yield from call.record_stream(chunks())

        answering = answer()
        next(answering)
        answering.close()
        assert statuses(recorder) == {"cancelled": 1}
        assert_settled(recorder)

    def test_an_error_in_the_block_is_the_calls(self, recorder):
        streams = []

        def ask() -> None:
            with tracked(recorder) as call:
                streams.append(call.record_stream(chunks()))
                next(streams[0])
                raise TimeoutError

        with pytest.raises(TimeoutError):
            ask()
        assert statuses(recorder) == {"error": 1}
        list(streams[0])  # goes on, and counts no more
        assert statuses(recorder) == {"error": 1}
        assert_settled(recorder)

    def test_a_second_stream_stands_for_the_first(self, recorder):
        with tracked(recorder) as call:
            next(call.record_stream(chunks()))
            list(call.record_stream(chunks()))
        assert statuses(recorder) == {"success": 1}
        assert recorder.value("llm_tokens_total") == 15

    def test_usage_that_the_program_counted_itself_is_recorded(self, recorder):
        with tracked(recorder) as call:
            list(call.record_stream(iter(CHUNKS[:-1])))
            call.record_usage(3, 2)
        assert by(recorder, "llm_tokens_total", "token_type") == {"input": 3, "output": 2}

    def test_a_stream_that_is_part_of_a_cycle_is_cancelled_when_it_is_collected(self, recorder):
        def opened() -> None:
            held: list[Any] = []
            with tracked(recorder) as call:
                held += [held, call.record_stream(chunks())]

        opened()
        gc.collect()
        assert statuses(recorder) == {"cancelled": 1}
        assert_settled(recorder)


class TestErrors:
    def test_an_error_that_is_an_event_is_the_calls(self, recorder):
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "secret"}}
        with tracked(recorder) as call:
            assert list(call.record_stream(iter([ROLE, error]))) == [ROLE, error]
        assert by(recorder, "llm_errors_total", "error_type") == {"server_error": 1}

    def test_a_response_that_failed_is_the_calls(self, recorder):
        failed = {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "secret"}}
        with tracked(recorder) as call:
            call.record_response(failed)
        assert by(recorder, "llm_errors_total", "error_type") == {"rate_limit": 1}

    def test_a_chunk_that_is_not_understood_is_passed_on_and_counted(self, recorder, caplog):
        broken = {"choices": [], "usage": {"prompt_tokens": "secret"}}
        with caplog.at_level(logging.WARNING, "agentmetrics"), tracked(recorder) as call:
            assert list(call.record_stream(iter([broken, *CHUNKS]))) == [broken, *CHUNKS]
        assert recorder.value("agentmetrics_handler_errors_total", event="record_stream") == 1
        assert recorder.value("llm_tokens_total") == 15
        assert "secret" not in caplog.text

    def test_a_stream_without_usage_says_once_what_to_do(self, recorder, caplog):
        with caplog.at_level(logging.WARNING, "agentmetrics"):
            for _ in range(2):
                with tracked(recorder) as call:
                    list(call.record_stream(iter(CHUNKS[:-1])))
        (logged,) = (record.getMessage() for record in caplog.records)
        assert logged == (
            "no token counts in list_iterator from openai (gpt-4o): such calls are recorded "
            "without tokens and cost; request usage in the stream (of OpenAI with "
            "stream_options={'include_usage': True}), or pass the tokens to record_usage()"
        )

    def test_a_stream_given_to_record_response_says_what_to_do(self, recorder, caplog):
        with caplog.at_level(logging.WARNING, "agentmetrics"), tracked(recorder) as call:
            call.record_response(chunks())
        assert "read the stream through record_stream()" in caplog.text


async def _coroutine() -> None:
    pass


class TestWhatIsNoStream:
    @pytest.mark.parametrize(
        ("wrong", "instead"),
        [
            (None, "pass a whole response to record_response()"),
            ("text", "pass a whole response to record_response()"),
            ({"stream": [], "ResponseMetadata": {}}, r'pass response\["stream"\]'),
        ],
        ids=["nothing", "text", "what boto3 returns"],
    )
    def test_is_refused_at_once(self, recorder, wrong, instead):
        with tracked(recorder) as call, pytest.raises(TypeError, match=instead):
            call.record_stream(wrong)
        assert statuses(recorder) == {"success": 1}

    def test_a_coroutine_is_to_be_awaited(self, recorder):
        coroutine: Any = _coroutine()
        with tracked(recorder) as call, pytest.raises(TypeError, match="await it first"):
            call.record_stream(coroutine)
        coroutine.close()


def test_it_has_no_attributes_that_the_stream_has_not(recorder):
    with tracked(recorder) as call:
        stream: Any = call.record_stream(chunks())
        with pytest.raises(AttributeError):
            stream.response
        stream.close()
    assert statuses(recorder) == {"cancelled": 1}
