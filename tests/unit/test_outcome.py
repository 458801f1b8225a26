"""How a call ended: status, and type of error; never the error's text."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys

import anyio
import httpx
import httpx2
import pytest
import trio
from gevent import GreenletExit

from agentmetrics.calls.outcome import status_of
from agentmetrics.catalog import ERROR_TYPES
from agentmetrics.providers import error_types
from agentmetrics.providers.error_types import error_type_of
from agentmetrics.sources.langchain.callbacks import errors as langchain_errors

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup


def provider_error(sdk, name: str, code: str | None = None, status: int = 400):
    """An error as the SDK of the provider raises it."""
    request = httpx2.Request("POST", "http://localhost")
    response = httpx2.Response(status, request=request)
    cls = getattr(sdk, name)
    body = {"error": {"code": code, "message": "secret"}}
    return cls("secret", response=response, body=body["error"])


class TestStatus:
    @pytest.mark.parametrize(
        "error",
        [
            asyncio.CancelledError(),
            concurrent.futures.CancelledError(),
            GeneratorExit(),
            KeyboardInterrupt(),
            SystemExit(),
            GreenletExit(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_the_status_of_what_somebody_ended_is_cancelled(self, error):
        assert status_of(error) == "cancelled"

    def test_the_status_of_a_cancelled_trio_task_is_cancelled(self):
        async def main():
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    await trio.sleep_forever()
                except BaseException as error:
                    seen.append(status_of(error))
                    raise

        seen: list[str] = []
        trio.run(main)
        assert seen == ["cancelled"]

    def test_the_status_of_langgraphs_control_flow_is_interrupted(self):
        from langgraph.errors import GraphInterrupt, ParentCommand
        from langgraph.types import Command

        assert status_of(GraphInterrupt()) == "interrupted"
        assert status_of(ParentCommand(Command())) == "interrupted"

    @pytest.mark.parametrize("error", [ValueError(), TimeoutError(), MemoryError(), "no error"])
    def test_the_status_of_everything_else_is_error(self, error):
        assert status_of(error) == "error"

    def test_the_status_of_a_panic_in_rust_is_error(self):
        class PanicException(BaseException):  # PyO3's name for it
            pass

        assert status_of(PanicException()) == "error"

    def test_the_status_of_a_group_is_that_of_all_its_members(self):
        cancelled = asyncio.CancelledError
        assert status_of(BaseExceptionGroup("", [cancelled(), cancelled()])) == "cancelled"
        assert status_of(BaseExceptionGroup("", [cancelled(), ValueError()])) == "error"
        nested = BaseExceptionGroup("", [ExceptionGroup("", [ValueError()])])
        assert status_of(nested) == "error"

    @pytest.mark.parametrize("members", [(), None, "text", 7])
    def test_the_status_is_not_fooled_by_an_attribute_called_exceptions(self, members):
        error = ValueError()
        error.exceptions = members  # type: ignore[attr-defined]
        assert status_of(error) == "error"


class TestErrorType:
    @pytest.mark.parametrize("sdk", ["openai", "anthropic"])
    @pytest.mark.parametrize(
        ("name", "status", "error_type"),
        [
            ("RateLimitError", 429, "rate_limit"),
            ("AuthenticationError", 401, "authentication"),
            ("PermissionDeniedError", 403, "authentication"),
            ("BadRequestError", 400, "invalid_request"),
            ("NotFoundError", 404, "invalid_request"),
            ("UnprocessableEntityError", 422, "invalid_request"),
            ("InternalServerError", 500, "server_error"),
            ("APIStatusError", 503, "server_error"),
        ],
    )
    def test_the_error_type_of_an_sdks_errors_is_that_of_their_class(
        self, sdk, name, status, error_type
    ):
        error = provider_error(pytest.importorskip(sdk), name, status=status)
        assert error_type_of(error) == error_type

    @pytest.mark.parametrize("sdk", ["openai", "anthropic"])
    @pytest.mark.parametrize(
        ("name", "error_type"),
        [("APITimeoutError", "timeout"), ("APIConnectionError", "connection")],
    )
    def test_the_error_type_of_an_sdks_lost_connections_is_known(self, sdk, name, error_type):
        cls = getattr(pytest.importorskip(sdk), name)
        request = httpx2.Request("POST", "http://localhost")
        assert error_type_of(cls(request=request)) == error_type

    @pytest.mark.parametrize(
        ("code", "status", "error_type"),
        [
            ("context_length_exceeded", 400, "context_length"),
            ("content_filter", 400, "content_filter"),
            ("content_policy_violation", 400, "content_filter"),
            ("rate_limit_exceeded", 403, "rate_limit"),
            ("insufficient_quota", 403, "rate_limit"),
            ("something_new", 400, "invalid_request"),
        ],
    )
    def test_the_providers_code_says_more_than_the_class(self, code, status, error_type):
        import openai

        error = provider_error(openai, "BadRequestError", code, status)
        assert error_type_of(error) == error_type

    @pytest.mark.parametrize(
        ("error", "error_type"),
        [
            (TimeoutError(), "timeout"),
            (asyncio.TimeoutError(), "timeout"),
            (httpx.ReadTimeout("secret"), "timeout"),
            (httpx2.ConnectTimeout("secret"), "timeout"),
            (httpx.ConnectError("secret"), "connection"),
            (httpx2.RemoteProtocolError("secret"), "connection"),
            (ConnectionResetError(), "connection"),
            (BrokenPipeError(), "connection"),
            (anyio.BrokenResourceError(), "other"),
            (ValueError("rate limit exceeded, timeout"), "other"),
        ],
        ids=lambda value: value if isinstance(value, str) else type(value).__name__,
    )
    def test_the_error_type_of_errors_of_python_and_http_clients_is_known(self, error, error_type):
        assert error_type_of(error) == error_type

    @pytest.mark.parametrize(
        ("code", "status", "error_type"),
        [
            ("ThrottlingException", 429, "rate_limit"),
            ("ServiceQuotaExceededException", 400, "rate_limit"),
            ("AccessDeniedException", 403, "authentication"),
            ("ExpiredTokenException", 403, "authentication"),
            ("ResourceNotFoundException", 404, "invalid_request"),
            ("ValidationException", 400, "invalid_request"),
            ("ModelTimeoutException", 408, "timeout"),
            ("ModelNotReadyException", 429, "server_error"),
            ("ModelErrorException", 424, "server_error"),
            ("InternalServerException", 500, "server_error"),
            ("SomethingNewException", 503, "server_error"),
        ],
    )
    def test_the_error_type_of_bedrocks_errors_is_known(self, code, status, error_type):
        botocore = pytest.importorskip("botocore.exceptions")
        response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        assert error_type_of(botocore.ClientError(response, "Converse")) == error_type

    @pytest.mark.parametrize(
        ("code", "error_type"),
        [
            ("throttlingException", "rate_limit"),
            ("modelTimeoutException", "timeout"),
            ("modelStreamErrorException", "server_error"),
            ("serviceUnavailableException", "server_error"),
            ("validationException", "invalid_request"),
            ("somethingNewException", "other"),
            ("", "other"),
            (None, "other"),
        ],
    )
    def test_the_error_type_of_bedrocks_errors_in_a_stream_is_known(self, code, error_type):
        botocore = pytest.importorskip("botocore.exceptions")
        error = botocore.EventStreamError({"Error": {"Code": code}}, "ConverseStream")
        assert error_type_of(error) == error_type

    @pytest.mark.parametrize("response", [{}, {"Error": None}, {"Error": []}, [], "text"])
    def test_the_error_type_is_not_fooled_by_a_response_of_another_shape(self, response):
        error = ValueError()
        error.response = response  # type: ignore[attr-defined]
        assert error_type_of(error) == "other"

    def test_the_error_type_of_a_context_that_is_too_long_is_that_whatever_the_providers_code(self):
        aws = pytest.importorskip("langchain_aws.chat_models.bedrock_converse")
        error = aws.BedrockContextOverflowError(
            {"Error": {"Code": "ValidationException"}}, "Converse"
        )
        assert error_type_of(error) == "context_length"

    @pytest.mark.parametrize(
        ("kind", "error_type"),
        [
            ("overloaded_error", "server_error"),
            ("api_error", "server_error"),
            ("rate_limit_error", "rate_limit"),
            ("timeout_error", "timeout"),
            ("something_new", "other"),
        ],
    )
    def test_the_error_type_of_anthropics_errors_in_a_stream_that_began_well_is_known(
        self, kind, error_type
    ):
        anthropic = pytest.importorskip("anthropic")
        response = httpx2.Response(200, request=httpx2.Request("POST", "http://localhost"))
        body = {"type": "error", "error": {"type": kind, "message": "secret"}}
        error = anthropic.APIStatusError("secret", response=response, body=body)
        assert error_type_of(error) == error_type

    @pytest.mark.parametrize(
        ("code", "error_type"),
        [
            (400, "invalid_request"),
            (403, "authentication"),
            (429, "rate_limit"),
            (503, "server_error"),
            (504, "timeout"),
        ],
    )
    def test_the_error_type_of_googles_errors_is_known(self, code, error_type):
        google = pytest.importorskip("google.genai.errors")
        assert error_type_of(google.APIError(code, {"error": {"code": code}})) == error_type

    def test_the_error_type_of_coheres_errors_is_known(self):
        cohere = pytest.importorskip("cohere.errors")
        assert error_type_of(cohere.TooManyRequestsError(body={})) == "rate_limit"
        assert error_type_of(cohere.ForbiddenError(body={})) == "authentication"

    def test_the_error_type_of_ollamas_errors_is_known(self):
        ollama = pytest.importorskip("ollama")
        assert error_type_of(ollama.ResponseError("secret", 404)) == "invalid_request"
        assert error_type_of(ollama.ResponseError("secret")) == "other"  # one in a stream

    def test_the_error_type_of_botocores_lost_connections_is_known(self):
        botocore = pytest.importorskip("botocore.exceptions")
        url = {"endpoint_url": "http://localhost"}
        assert error_type_of(botocore.EndpointConnectionError(**url)) == "connection"
        assert error_type_of(botocore.ConnectionClosedError(**url)) == "connection"
        assert error_type_of(botocore.ResponseStreamingError(error="")) == "connection"
        assert error_type_of(botocore.ConnectTimeoutError(**url)) == "timeout"
        assert error_type_of(botocore.ReadTimeoutError(**url)) == "timeout"

    def test_the_error_type_of_aiohttps_lost_connections_is_known(self):
        import aiohttp

        assert error_type_of(aiohttp.ServerDisconnectedError()) == "connection"
        assert error_type_of(aiohttp.ClientPayloadError()) == "connection"
        assert error_type_of(aiohttp.ServerTimeoutError()) == "timeout"

    def test_the_error_type_is_in_the_body_where_an_sdk_hands_on_nothing_else(self):
        groq = pytest.importorskip("groq")
        body = {"error": {"message": "secret", "code": "context_length_exceeded"}}
        response = httpx.Response(400, request=httpx.Request("POST", "http://localhost"))
        error = groq.BadRequestError("secret", response=response, body=body)
        assert error_type_of(error) == "context_length"

    @pytest.mark.parametrize("body", ["text", None, {}, {"error": "text"}, {"error": {}}])
    def test_the_error_type_may_be_in_no_body(self, body):
        groq = pytest.importorskip("groq")
        response = httpx.Response(413, request=httpx.Request("POST", "http://localhost"))
        error = groq.APIStatusError("secret", response=response, body=body)
        assert error_type_of(error) == "invalid_request"

    @pytest.mark.parametrize(
        ("body", "error_type"),
        [
            ({"code": 502}, "server_error"),
            ({"code": 429}, "rate_limit"),
            ({"code": "server_error"}, "server_error"),
            ({"code": None, "type": "server_error"}, "server_error"),
            ({"code": "something_new"}, "other"),
            (None, "other"),
        ],
    )
    def test_the_error_type_of_an_error_within_a_stream_is_known(self, body, error_type):
        import openai

        request = httpx2.Request("POST", "http://localhost")
        assert error_type_of(openai.APIError("secret", request, body=body)) == error_type

    @pytest.mark.parametrize(
        ("told", "error_type"),
        [
            ("rate_limit_exceeded: Rate limit reached for gpt-4o-mini", "rate_limit"),
            ("ResponseError(code='server_error', message='secret')", "server_error"),
            ("OpenRouter API returned an error: secret (code: 502)", "server_error"),
            ("OpenRouter API returned an error: secret (code: 402)", "rate_limit"),
            ("Azure … due to a content filter being triggered", "content_filter"),
            ({"code": "context_length_exceeded"}, "context_length"),
            ({"code": None, "type": "server_error"}, "server_error"),
            ({"code": 429}, "rate_limit"),
            ({}, "other"),
            ({"message": "rate_limit_exceeded"}, "other"),
            ("server_error was what I thought", "other"),
            ("500 is no temperature", "other"),
            ("code: 502", "other"),
            ("", "other"),
            (None, "other"),
        ],
    )
    def test_the_error_type_of_an_error_in_the_body_of_a_200_is_known(self, told, error_type):
        assert error_type_of(ValueError(told)) == error_type

    def test_the_error_type_of_an_error_object_in_the_body_of_a_200_is_known(self):
        from openai.types.responses import ResponseError

        told = ResponseError(code="invalid_prompt", message="secret")
        assert error_type_of(ValueError(told)) == "invalid_request"
        error = ValueError(ResponseError(code="server_error", message="secret"))
        error.response = httpx2.Response(200)  # type: ignore[attr-defined]
        assert error_type_of(error) == "server_error"

    def test_the_error_type_of_an_error_that_says_nothing_is_other(self):
        assert error_type_of(ValueError()) == "other"

    def test_the_error_type_is_not_sought_in_the_text_of_other_errors(self):
        class MineError(ValueError):
            pass

        assert error_type_of(MineError("server_error: mine")) == "other"

    def test_the_error_type_of_a_class_that_somebody_derived_is_that_of_its_base(self):
        class MineError(TimeoutError):
            pass

        assert error_type_of(MineError()) == "timeout"

    @pytest.mark.parametrize(
        ("status", "error_type"),
        [
            (401, "authentication"),
            (403, "authentication"),
            (402, "rate_limit"),
            (404, "invalid_request"),
            (408, "timeout"),
            (429, "rate_limit"),
            (500, "server_error"),
            (529, "server_error"),
            (504, "timeout"),
            (302, "other"),
            (1006, "other"),
            ("429", "other"),
            (None, "other"),
        ],
    )
    def test_the_error_type_falls_back_on_the_http_status(self, status, error_type):
        class FailedError(Exception):
            pass

        direct, behind = FailedError(), FailedError()
        direct.status_code = status  # type: ignore[attr-defined]
        behind.response = direct  # type: ignore[attr-defined]
        assert error_type_of(direct) == error_type
        assert error_type_of(behind) == error_type

    @pytest.mark.parametrize(
        ("metadata", "error_type"),
        [
            ({"HTTPStatusCode": 429}, "rate_limit"),
            ({"HTTPStatusCode": 503}, "server_error"),
            ({}, "other"),
        ],
    )
    def test_the_error_type_of_bedrock_is_behind_its_response(self, metadata, error_type):
        botocore = pytest.importorskip("botocore.exceptions")
        error = botocore.ClientError({"ResponseMetadata": metadata}, "InvokeModel")
        assert error_type_of(error) == error_type

    @pytest.mark.parametrize("response", [{"ResponseMetadata": None}, {}, "429", 429])
    def test_the_error_type_is_not_fooled_by_an_attribute_called_response(self, response):
        error = ValueError()
        error.response = response  # type: ignore[attr-defined]
        assert error_type_of(error) == "other"

    def test_the_error_type_of_gemini_is_its_code(self):
        genai = pytest.importorskip("google.genai.errors")
        assert error_type_of(genai.APIError(429, {"error": {"code": 429}})) == "rate_limit"

    def test_the_error_type_is_always_one_of_the_catalogues(self):

        named = {
            *error_types._by_class_name.values(),
            *error_types._BY_CODE.values(),
            *error_types._BY_HTTP_STATUS.values(),
            *langchain_errors._BY_CLASS_NAME.values(),
            *langchain_errors._BEFORE_CODES.values(),
        }
        assert named < set(ERROR_TYPES)
