"""record_stream and record_response with the SDKs of OpenAI and Anthropic, over HTTP.

What is recorded is what the wire billed, however the program reads the stream.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from agentmetrics import MemoryRecorder, track_call
from tests.services.wire import LEFT, NO_KEY, Answer, Call, Wire
from tests.unit.scripted import assert_settled, by

pytestmark = [
    pytest.mark.anyio,
    # The SDKs leave generators of theirs behind at the end of a stream, which trio tells of.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <async_generator object (SSEDecoder|AsyncStream)"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
]
KEY = NO_KEY.get_secret_value()
MESSAGES: Any = [{"role": "user", "content": "What is the tallest mountain?"}]
USAGE: Any = {"include_usage": True}
TOOLS = (("weigh", {"mountain": "Everest"}), ("weigh", {"mountain": "K2"}))


@pytest.fixture(scope="module")
def clients() -> dict[type, Any]:
    """One client of each class: each would read the certificates anew."""
    return {kind: kind(api_key=KEY, max_retries=0) for kind in (openai.OpenAI, anthropic.Anthropic)}


@pytest.fixture
def chat(wire: Wire, clients: dict[type, Any]) -> Any:
    return clients[openai.OpenAI].with_options(base_url=f"{wire.url}/v1").chat.completions


@pytest.fixture
def async_chat(wire: Wire) -> Any:
    """Of a client of its own: its pool of connections is of one event loop and its library."""
    http = openai.DefaultAsyncHttpxClient(verify=False)
    url = f"{wire.url}/v1"
    return openai.AsyncOpenAI(
        api_key=KEY, base_url=url, max_retries=0, http_client=http
    ).chat.completions


@pytest.fixture
def messages(wire: Wire, clients: dict[type, Any]) -> Any:
    return clients[anthropic.Anthropic].with_options(base_url=wire.url).messages


@pytest.fixture
def async_messages(wire: Wire) -> Any:
    http = anthropic.DefaultAsyncHttpxClient(verify=False)
    return anthropic.AsyncAnthropic(
        api_key=KEY, base_url=wire.url, max_retries=0, http_client=http
    ).messages


def of_openai(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": MESSAGES, **more}


def streamed(**more: Any) -> dict[str, Any]:
    return of_openai(stream=True, stream_options=USAGE, **more)


def of_claude(**more: Any) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "messages": MESSAGES, "max_tokens": 100, **more}


def tracked_openai(recorder: MemoryRecorder) -> track_call:
    return track_call("openai", "gpt-4o", recorder=recorder)


def tracked_claude(recorder: MemoryRecorder) -> track_call:
    return track_call("anthropic", "claude-haiku-4-5", recorder=recorder)


def assert_billed(
    recorder: MemoryRecorder, wire: Wire, *, finish_reason: str = "stop", first_token: bool = True
) -> None:
    """One call was recorded, and it is the one that the wire answered, to the token."""
    wire.settled()
    (call,) = wire.calls
    assert by(recorder, "llm_calls_total", "status") == {"success": 1}
    assert by(recorder, "llm_tokens_total", "token_type") == {
        "input": call.input_tokens,
        "output": call.output_tokens,
    }
    assert by(recorder, "llm_token_details_total", "token_detail") == dict(call.details)
    assert by(recorder, "llm_served_calls_total", "served_model") == {call.model: 1}
    assert by(recorder, "llm_finish_reasons_total", "finish_reason") == {finish_reason: 1}
    assert recorder.histogram("llm_time_to_first_token_seconds").count == int(first_token)
    assert recorder.value("agentmetrics_handler_errors_total") == 0
    assert_settled(recorder)


def words(answer: Answer = Answer()) -> str:  # noqa: B008 - it is frozen
    return f"{answer.text} "


class TestStreams:
    def test_openai_events_are_passed_on_and_billed(self, recorder, wire, chat):
        wire.script("gpt-4o", Answer(cache_read=40, reasoning=5))
        with tracked_openai(recorder) as call:
            chunks = list(call.record_stream(chat.create(**streamed())))
        assert all(isinstance(c, openai.types.chat.ChatCompletionChunk) for c in chunks)
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == words()
        assert_billed(recorder, wire)

    def test_openai_tools_are_the_finish_reason(self, recorder, wire, chat):
        wire.script("gpt-4o", Answer(tools=TOOLS))
        with tracked_openai(recorder) as call:
            for _ in call.record_stream(chat.create(**streamed())):
                pass
        assert_billed(recorder, wire, finish_reason="tool_calls")

    async def test_async_openai(self, recorder, wire, async_chat):
        async with tracked_openai(recorder) as call:
            async for _ in call.record_stream(await async_chat.create(**streamed())):
                pass
        assert_billed(recorder, wire)

    def test_anthropic_has_its_input_from_the_start_and_its_output_from_the_end(
        self, recorder, wire, messages
    ):
        wire.script("claude-haiku-4-5", Answer(cache_read=30, cache_creation=20))
        with tracked_claude(recorder) as call:
            for _ in call.record_stream(messages.create(**of_claude(stream=True))):
                pass
        assert_billed(recorder, wire)

    async def test_async_anthropic_with_tools(self, recorder, wire, async_messages):
        wire.script("claude-haiku-4-5", Answer(tools=TOOLS))
        async with tracked_claude(recorder) as call:
            stream = await async_messages.create(**of_claude(stream=True))
            async for _ in call.record_stream(stream):
                pass
        assert_billed(recorder, wire, finish_reason="tool_calls")

    def test_a_stream_has_the_attributes_of_the_sdks(self, recorder, wire, chat):
        with tracked_openai(recorder) as call:
            stream = call.record_stream(chat.create(**streamed()))
            assert stream.response.status_code == 200
            assert len(list(stream)) > 3
        with pytest.raises(AttributeError):
            stream.no_such_thing
        assert_billed(recorder, wire)

    def test_lines_of_a_raw_response(self, recorder, wire, chat):
        with (
            tracked_openai(recorder) as call,
            chat.with_streaming_response.create(**streamed()) as response,
        ):
            lines = list(call.record_stream(response.iter_lines()))
        assert lines[-2].startswith("data: ")
        assert_billed(recorder, wire)

    def test_bytes_of_a_raw_response(self, recorder, wire, messages):
        with (
            tracked_claude(recorder) as call,
            messages.with_streaming_response.create(**of_claude(stream=True)) as response,
        ):
            for _ in call.record_stream(response.iter_bytes(7)):
                pass
        assert_billed(recorder, wire)


class TestTheHelpersOfTheSDKs:
    def test_text_stream(self, recorder, wire, messages):
        with (
            tracked_claude(recorder) as call,
            call.record_stream(messages.stream(**of_claude())) as stream,
        ):
            assert "".join(stream.text_stream) == words()
            message = stream.get_final_message()
        assert message.usage.output_tokens == wire.calls[0].output_tokens
        assert_billed(recorder, wire)

    async def test_async_text_stream(self, recorder, wire, async_messages):
        async with (
            tracked_claude(recorder) as call,
            call.record_stream(async_messages.stream(**of_claude())) as stream,
        ):
            assert "".join([text async for text in stream.text_stream]) == words()
        assert_billed(recorder, wire)

    @pytest.mark.parametrize("method", ["get_final_message", "get_final_text", "until_done"])
    def test_the_rest_of_a_stream_that_the_sdk_reads_itself(self, recorder, wire, messages, method):
        with (
            tracked_claude(recorder) as call,
            call.record_stream(messages.stream(**of_claude())) as stream,
        ):
            next(stream)
            getattr(stream, method)()
        assert_billed(recorder, wire)

    async def test_the_rest_of_an_async_stream(self, recorder, wire, async_messages):
        async with (
            tracked_claude(recorder) as call,
            call.record_stream(async_messages.stream(**of_claude())) as stream,
        ):
            message = await stream.get_final_message()
        assert message.content[0].text == words()
        assert_billed(recorder, wire)

    def test_openais_events_and_final_completion(self, recorder, wire, chat):
        wire.script("gpt-4o", Answer(tools=TOOLS))
        with (
            tracked_openai(recorder) as call,
            call.record_stream(chat.stream(**of_openai(stream_options=USAGE))) as stream,
        ):
            assert {"chunk", "tool_calls.function.arguments.done"} <= {e.type for e in stream}
            completion = stream.get_final_completion()
        assert completion.usage.total_tokens == wire.calls[0].usage["total_tokens"]
        assert_billed(recorder, wire, finish_reason="tool_calls")

    async def test_openais_async_helper(self, recorder, wire, async_chat):
        async with (
            tracked_openai(recorder) as call,
            call.record_stream(async_chat.stream(**of_openai(stream_options=USAGE))) as stream,
        ):
            await stream.until_done()
        assert_billed(recorder, wire)

    def test_an_error_of_the_request_that_a_helper_makes_is_the_calls(self, recorder, messages):
        broken = messages.stream(**of_claude())
        broken._MessageStreamManager__api_request = lambda: 1 / 0
        with (
            pytest.raises(ZeroDivisionError),
            tracked_claude(recorder) as call,
            call.record_stream(broken),
        ):
            pass
        assert by(recorder, "llm_calls_total", "status") == {"error": 1}
        assert_settled(recorder)


class TestResponses:
    @pytest.mark.parametrize(
        "told",
        [
            lambda response: response,
            lambda response: response.http_response,
            lambda response: response.parse(),
            lambda response: response.http_response.content,
            lambda response: response.text,
            lambda response: response.parse().to_dict(),
        ],
        ids=["raw", "HTTP", "parsed", "bytes", "text", "plain"],
    )
    def test_openai(self, recorder, wire, chat, told: Callable[[Any], Any]):
        with tracked_openai(recorder) as call:
            call.record_response(told(chat.with_raw_response.create(**of_openai())))
        assert_billed(recorder, wire, first_token=False)

    async def test_a_raw_async_response(self, recorder, wire, async_chat):
        async with tracked_openai(recorder) as call:
            call.record_response(await async_chat.with_raw_response.create(**of_openai()))
        assert_billed(recorder, wire, first_token=False)

    def test_anthropic(self, recorder, wire, messages):
        wire.script("claude-haiku-4-5", Answer(cache_read=30, cache_creation_1h=20, tools=TOOLS))
        with tracked_claude(recorder) as call:
            call.record_response(messages.with_raw_response.create(**of_claude()))
        assert_billed(recorder, wire, first_token=False, finish_reason="tool_calls")

    def test_a_raw_response_that_was_not_read_stays_unread(self, recorder, wire, chat):
        with (
            tracked_openai(recorder) as call,
            chat.with_streaming_response.create(**of_openai()) as response,
        ):
            call.record_response(response)
            assert response.json()["model"] == wire.calls[0].model
        assert recorder.value("llm_tokens_total") == 0
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_a_stream_in_place_of_a_response_is_not_read(self, recorder, wire, chat):
        with tracked_openai(recorder) as call:
            stream = chat.create(**streamed())
            call.record_response(stream)
            assert len(list(stream)) > 3
        assert by(recorder, "llm_calls_total", "status") == {"success": 1}
        assert recorder.value("llm_tokens_total") == 0


class TestHowAStreamEnds:
    def left(self, wire: Wire) -> list[Call]:
        wire.settled()
        return wire.having(ended=LEFT)

    def test_one_that_is_closed_early_is_cancelled(self, recorder, wire, messages):
        wire.always("claude-haiku-4-5", Answer(hangs=True, fresh=70))
        with tracked_claude(recorder) as call:
            stream = call.record_stream(messages.create(**of_claude(stream=True)))
            for _ in range(4):
                next(stream)
            stream.close()
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert by(recorder, "llm_tokens_total", "token_type") == {"input": 70}
        assert_settled(recorder)
        assert len(self.left(wire)) == 1

    async def test_an_async_one_that_is_closed_early_is_cancelled(
        self, recorder, wire, async_messages
    ):
        wire.always("claude-haiku-4-5", Answer(hangs=True))
        async with tracked_claude(recorder) as call:
            stream = call.record_stream(await async_messages.create(**of_claude(stream=True)))
            await anext(stream)
            await stream.close()
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert_settled(recorder)
        assert len(self.left(wire)) == 1

    def test_one_whose_block_of_its_own_is_left_early_is_cancelled(self, recorder, wire, chat):
        wire.always("gpt-4o", Answer(hangs=True))
        with (
            tracked_openai(recorder) as call,
            call.record_stream(chat.create(**streamed())) as stream,
        ):
            next(stream)
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert len(self.left(wire)) == 1

    def test_one_whose_connection_breaks_is_an_error(self, recorder, wire, chat):
        wire.script("gpt-4o", Answer(breaks=True))
        with (
            pytest.raises(Exception, match="Connection error"),
            tracked_openai(recorder) as call,
        ):
            for _ in call.record_stream(chat.create(**streamed())):
                pass
        assert by(recorder, "llm_errors_total", "error_type") == {"connection": 1}
        assert_settled(recorder)

    def test_its_error_is_the_calls_even_if_the_program_goes_on(self, recorder, wire, chat):
        wire.script("gpt-4o", Answer(breaks=True))
        with tracked_openai(recorder) as call:
            try:
                for _ in call.record_stream(chat.create(**streamed())):
                    pass
            except Exception:  # the program has an answer of its own
                call.record_usage(1, 1)
        assert by(recorder, "llm_calls_total", "status") == {"error": 1}

    def test_a_cancelled_task_is_a_cancelled_call(self, recorder, wire, async_chat):
        wire.always("gpt-4o", Answer(hangs=True))

        async def ask() -> None:
            async with tracked_openai(recorder) as call:
                async for _ in call.record_stream(await async_chat.create(**streamed())):
                    begun.set()

        async def main() -> None:
            task = asyncio.create_task(ask())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        begun = asyncio.Event()
        asyncio.run(main())
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert_settled(recorder)


class TestAStreamThatOutlivesItsBlock:
    def opened(self, recorder: MemoryRecorder, chat: Any) -> Any:
        with tracked_openai(recorder) as call:
            return call.record_stream(chat.create(**streamed()))

    def test_the_call_ends_with_it(self, recorder, wire, chat):
        stream = self.opened(recorder, chat)
        assert recorder.value("llm_active_calls") == 1
        assert recorder.value("llm_calls_total") == 0
        list(stream)
        assert_billed(recorder, wire)

    def test_in_another_thread(self, recorder, wire, chat):
        thread = threading.Thread(target=list, args=(self.opened(recorder, chat),))
        thread.start()
        thread.join(timeout=10)
        assert_billed(recorder, wire)

    def test_read_again_it_has_nothing_more_and_counts_once(self, recorder, wire, chat):
        stream = self.opened(recorder, chat)
        assert len(list(stream)) > 3
        assert list(stream) == []
        assert_billed(recorder, wire)

    def test_closed_early_it_is_cancelled(self, recorder, wire, chat):
        stream = self.opened(recorder, chat)
        next(stream)
        stream.close()
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert_settled(recorder)

    @pytest.mark.parametrize("read", [0, 2], ids=["never read", "half read"])
    def test_dropped_it_is_cancelled(self, recorder, wire, chat, read):
        stream = self.opened(recorder, chat)
        for _ in range(read):
            next(stream)
        stream.response.close()
        del stream
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert_settled(recorder)

    def test_dropped_in_another_thread_it_is_cancelled(self, recorder, wire, chat):
        held = [self.opened(recorder, chat)]

        def drop() -> None:
            next(held[0])
            held[0].response.close()
            held.clear()

        thread = threading.Thread(target=drop)
        thread.start()
        thread.join(timeout=10)
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert_settled(recorder)

    def test_its_error_is_the_calls(self, recorder, wire, chat):
        wire.script("gpt-4o", Answer(breaks=True))
        with pytest.raises(Exception, match="Connection error"):
            list(self.opened(recorder, chat))
        assert by(recorder, "llm_errors_total", "error_type") == {"connection": 1}
        assert_settled(recorder)
