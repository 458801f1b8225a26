"""A Django project in one module, for ASGI and WSGI, for the tests of the middlewares."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from agentmetrics_asgi import MetricsMiddleware, WSGIMetricsMiddleware

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="for tests",
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        LOGGING_CONFIG=None,
    )
    django.setup()

ROUTES = [
    ("GET", "/items/7/", "/items/<int:item_id>/", 200),
    ("GET", "/items/8/", "/items/<int:item_id>/", 200),
    ("POST", "/items/7/", "/items/<int:item_id>/", 200),
    ("GET", "/v2/items/7/", "/v2/items/<int:item_id>/", 200),
    ("GET", "/old/2024/", "/^old/(?P<item_id>[0-9]{4})/$", 200),
    ("GET", "/boom/", "/boom/", 500),
    ("GET", "/events/", "/events/", 200),
    ("GET", "/nothing/7/", "unmatched", 404),
    ("GET", "/nothing/8/", "unmatched", 404),
]


def item(request: HttpRequest, item_id: int) -> HttpResponse:
    return HttpResponse(str(item_id))


def boom(request: HttpRequest) -> HttpResponse:
    raise ValueError("a secret")


def events(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            time.sleep(0.01)

    async def asynchronous_parts() -> AsyncIterator[str]:
        for part in parts():
            yield part

    is_asgi = hasattr(request, "scope")
    content: Any = asynchronous_parts() if is_asgi else parts()
    return StreamingHttpResponse(content, content_type="text/event-stream")


_ITEMS = [path("items/<int:item_id>/", item)]
urlpatterns = [
    *_ITEMS,
    path("v2/", include(_ITEMS)),
    re_path("^old/(?P<item_id>[0-9]{4})/$", item),
    path("boom/", boom),
    path("events/", events),
]


def asgi(**options: Any) -> MetricsMiddleware:
    return MetricsMiddleware(get_asgi_application(), **options)


def wsgi(**options: Any) -> WSGIMetricsMiddleware:
    return WSGIMetricsMiddleware(get_wsgi_application(), **options)


def on_prometheus() -> WSGIMetricsMiddleware:
    """For processes of their own, which show their metrics."""
    return wsgi(metrics_path="/metrics")
