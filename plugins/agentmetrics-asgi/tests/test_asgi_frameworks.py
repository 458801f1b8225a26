"""Every framework on real servers: what is counted is what the clients were answered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import http_django
import http_fastapi
import http_flask
import http_litestar
import http_starlette
import pytest
from django.core.asgi import get_asgi_application
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.routing import Mount

from agentmetrics import MemoryRecorder
from agentmetrics_asgi import MetricsMiddleware
from tests.services.process import free_port, running
from tests.services.webserver import Uvicorn, ask, on_gunicorn, wait_for

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
OLD_FASTAPI = ("fastapi==0.136.0", "starlette==0.52.1")
"""The last FastAPI that copied the routes of an included router, and a Starlette of its time."""

Table = list[tuple[str, str, str, int]]
Counts = Counter[tuple[str, str, str]]


def expected(table: Table, times: int) -> Counts:
    counts: Counts = Counter()
    for method, _, endpoint, status in table:
        known = method if method != "FOO" else "other"
        counts[known, endpoint, str(status)] += times
    return counts


def load(port: int, table: Table, times: int) -> None:
    """Every request of the table so many times, by eight clients at once."""

    def one(row: tuple[str, str, str, int]) -> None:
        method, path, _, status = row
        assert ask(port, method, path)[0] == status, row

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(one, table * times))


def counted(samples: Any) -> Counts:
    return Counter(
        {
            (s.labels["method"], s.labels["endpoint"], s.labels["status"]): int(s.value)
            for s in samples
            if s.name == "http_requests_total"
        }
    )


def read(recorder: MemoryRecorder, total: int) -> list[Any]:
    """What was recorded, once it is so many requests."""
    wait_for(lambda: counted(recorder.samples()).total() >= total)
    return list(recorder.samples())


def scraped(port: int, total: int) -> list[Any]:
    """What ``/metrics`` shows, once it is so many requests."""

    def samples() -> list[Any]:
        text = ask(port, "GET", "/metrics")[1].decode()
        families = text_string_to_metric_families(text)
        return [sample for family in families for sample in family.samples]

    wait_for(lambda: counted(samples()).total() >= total)
    return samples()


def check(samples: list[Any], table: Table, times: int) -> None:
    """All that has to be so whatever the framework is."""
    counts = expected(table, times)
    assert counted(samples) == counts
    failed = {key: n for key, n in counts.items() if key[2] == "500"}
    errors = {
        (s.labels["method"], s.labels["endpoint"], s.labels["status"]): int(s.value)
        for s in samples
        if s.name == "http_errors_total" and s.value
    }
    assert errors == failed
    streams = Counter[str]()
    for name in ("http_request_duration_seconds_count", "http_stream_duration_seconds_count"):
        for sample in samples:
            if sample.name == name:
                streams[sample.labels["endpoint"]] += int(sample.value)
                assert ("/events" in sample.labels["endpoint"]) == ("stream" in name)
    assert streams.total() == counts.total()
    active = [s.value for s in samples if s.name == "http_requests_active"]
    assert active
    assert set(active) == {0}
    failures = "agentmetrics_handler_errors_total"
    assert [s for s in samples if s.name == failures and s.value] == []


def starlette(recorder: Any, home: Path) -> Any:
    static = home / "static"
    static.mkdir()
    (static / "a.txt").write_text("a")
    return MetricsMiddleware(http_starlette.application(static), recorder=recorder)


ASGI: dict[str, tuple[Callable[[Any, Path], Any], Table, int]] = {
    "Starlette": (starlette, http_starlette.ROUTES, 56),
    "FastAPI": (lambda r, _: http_fastapi.application(recorder=r), http_fastapi.ROUTES, 6),
    "Litestar": (
        lambda r, _: MetricsMiddleware(http_litestar.application(), recorder=r),
        http_litestar.ROUTES,
        6,
    ),
    "Django": (lambda r, _: http_django.asgi(recorder=r), http_django.ROUTES, 6),
}


@pytest.mark.parametrize("framework", ASGI)
def test_counts_are_what_the_clients_of_uvicorn_saw(
    framework: str, uvicorn_server: Uvicorn, recorder: MemoryRecorder, tmp_path: Path
) -> None:
    make, table, times = ASGI[framework]
    load(uvicorn_server.serve(make(recorder, tmp_path)), table, times)
    check(read(recorder, times * len(table)), table, times)


def test_a_server_s_root_path_is_not_in_the_template(
    uvicorn_server: Uvicorn, recorder: MemoryRecorder
) -> None:
    table = [
        ("GET", "/items/7", "/items/{item_id:int}", 200),
        ("GET", "/api/items/7", "/api/items/{item_id}", 200),
    ]
    app = MetricsMiddleware(http_starlette.application(), recorder=recorder)
    load(uvicorn_server.serve(app, root_path="/behind/a/proxy"), table, 1)
    check(read(recorder, len(table)), table, 1)


def test_a_route_of_a_host_has_its_template(
    uvicorn_server: Uvicorn, recorder: MemoryRecorder
) -> None:
    port = uvicorn_server.serve(MetricsMiddleware(http_starlette.application(), recorder=recorder))
    assert ask(port, "GET", "/hosted/7", headers={"Host": "other.example"})[0] == 200
    table = [("GET", "/hosted/7", "/hosted/{item_id}", 200)]
    check(read(recorder, 1), table, 1)


def test_a_mounted_application_of_another_framework_has_its_template_after_the_mount_s(
    uvicorn_server: Uvicorn, recorder: MemoryRecorder
) -> None:
    app = Starlette(
        routes=[
            Mount("/litestar", http_litestar.application()),
            Mount("/{tenant}/django", get_asgi_application()),
        ]
    )
    table = [
        ("GET", "/litestar/items/7", "/litestar/items/{item_id}", 200),
        ("GET", "/acme/django/items/7/", "/{tenant}/django/items/<int:item_id>/", 200),
    ]
    load(uvicorn_server.serve(MetricsMiddleware(app, recorder=recorder)), table, 2)
    check(read(recorder, 2 * len(table)), table, 2)


def test_a_middleware_inside_of_a_mount_has_the_whole_template(
    uvicorn_server: Uvicorn, recorder: MemoryRecorder
) -> None:
    inside = MetricsMiddleware(http_starlette.application(), recorder=recorder)
    table = [("GET", "/acme/app/items/7", "/{tenant}/app/items/{item_id:int}", 200)]
    load(uvicorn_server.serve(Starlette(routes=[Mount("/{tenant}/app", inside)])), table, 1)
    check(read(recorder, 1), table, 1)


def environment(**more: str) -> dict[str, str]:
    path = [str(HERE), str(ROOT), str(HERE.parent)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "AGENTMETRICS_BACKEND": "prometheus",
        **more,
    }


@pytest.fixture(scope="module")
def old_fastapi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the FastAPI of before 0.137."""
    target = tmp_path_factory.mktemp("old-fastapi")
    install = [sys.executable, "-m", "uv", "pip", "install", "--no-deps", "--target", str(target)]
    subprocess.run([*install, *OLD_FASTAPI], check=True, capture_output=True)
    return target


def test_counts_are_right_before_fastapi_0_137(old_fastapi: Path, tmp_path: Path) -> None:
    port, env = free_port(), environment()
    env["PYTHONPATH"] = f"{old_fastapi}{os.pathsep}{env['PYTHONPATH']}"
    command = [sys.executable, "-m", "uvicorn", "--factory", f"--port={port}"]
    command += ["http_fastapi:on_prometheus", "--log-level=critical"]
    with running(command, port=port, log=tmp_path / "log", env=env, cwd=HERE):
        load(port, http_fastapi.ROUTES, 3)
        check(scraped(port, 3 * len(http_fastapi.ROUTES)), http_fastapi.ROUTES, 3)


WSGI = {"Flask": ("http_flask", http_flask.ROUTES), "Django": ("http_django", http_django.ROUTES)}


@pytest.mark.parametrize("framework", WSGI)
def test_counts_are_what_the_clients_of_gunicorn_saw(framework: str, tmp_path: Path) -> None:
    module, table = WSGI[framework]
    threads = ("--worker-class=gthread", "--threads=8")
    app = f"{module}:on_prometheus()"
    with on_gunicorn(app, *threads, home=tmp_path, env=environment(), cwd=HERE) as port:
        load(port, table, 10)
        check(scraped(port, 10 * len(table)), table, 10)
