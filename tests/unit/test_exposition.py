"""Which recorder /metrics shows, and what is said when there is none to show or no place to."""

from __future__ import annotations

import sys

import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import (
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    Namespace,
    PrometheusRecorder,
    exposition,
)
from agentmetrics.config import active


def test_a_given_recorder_is_the_one_served() -> None:
    recorder = PrometheusRecorder(CollectorRegistry())
    assert exposition.prometheus_recorder(recorder) is recorder


def test_the_prometheus_recorder_is_found_inside_layers_and_fanouts() -> None:
    inner = PrometheusRecorder(CollectorRegistry())
    around = Namespace(FanoutRecorder([MemoryRecorder(), inner]), "shop")
    assert exposition.prometheus_recorder(around) is inner


def test_without_an_argument_the_configured_recorder_is_served() -> None:
    inner = PrometheusRecorder(CollectorRegistry())
    with active.replaced(FanoutRecorder([MemoryRecorder(), inner])):
        assert exposition.prometheus_recorder() is inner


@pytest.mark.parametrize("make", [exposition.make_asgi_app, exposition.make_wsgi_app])
def test_no_prometheus_backend_configured_says_what_to_set(make: object) -> None:
    assert callable(make)
    with (
        active.replaced(MemoryRecorder()),
        pytest.raises(ConfigurationError, match="set AGENTMETRICS_BACKEND=prometheus"),
    ):
        make()


def test_a_given_recorder_without_prometheus_is_named() -> None:
    with pytest.raises(ConfigurationError, match="MemoryRecorder contains no PrometheusRecorder"):
        exposition.start_http_server_in_thread(MemoryRecorder())


@pytest.mark.anyio
async def test_a_missing_aiohttp_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    recorder = PrometheusRecorder(CollectorRegistry())
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'llm-agentmetrics\[prometheus\]'"):
        await exposition.start_http_server(recorder)


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("127.0.0.1", 70000, "127.0.0.1:70000: the port must be a number from 0 to 65535"),
        ("192.0.2.1", 0, "192.0.2.1:0: this machine has no such address"),
        ("nowhere.invalid", 0, "nowhere.invalid:0: the host name does not resolve"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_sentence(host: str, port: int, why: str) -> None:
    recorder = PrometheusRecorder(CollectorRegistry())
    with pytest.raises(OSError, match="cannot serve metrics on") as caught:
        exposition.start_http_server_in_thread(recorder, host=host, port=port)
    assert why in (caught.value.strerror or "")


@pytest.mark.anyio
async def test_the_asgi_app_closes_a_websocket(anyio_backend: str) -> None:
    app = exposition.make_asgi_app(PrometheusRecorder(CollectorRegistry()))
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(event: dict[str, object]) -> None:
        sent.append(event)

    await app({"type": "websocket"}, receive, send)
    assert [event["type"] for event in sent] == ["websocket.close"]
