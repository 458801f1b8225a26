"""A Flask application, alone and under a dispatcher, for the tests of the WSGI middleware."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, request, stream_with_context
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from agentmetrics import track_call
from agentmetrics_asgi import WSGIMetricsMiddleware

ROUTES = [
    ("GET", "/items/7", "/items/<int:item_id>", 200),
    ("GET", "/items/8", "/items/<int:item_id>", 200),
    ("POST", "/items/7", "/items/<int:item_id>", 200),
    ("DELETE", "/items/7", "unmatched", 405),
    ("GET", "/v2/items/7", "/v2/items/<int:item_id>", 200),
    ("GET", "/mounted/items/7", "/mounted/items/<int:item_id>", 200),
    ("GET", "/boom", "/boom", 500),
    ("GET", "/events", "/events", 200),
    ("GET", "/nothing/7", "unmatched", 404),
    ("GET", "/nothing/8", "unmatched", 404),
]


def flask() -> Flask:
    app = Flask(__name__)
    v2 = Blueprint("v2", __name__, url_prefix="/v2")

    @v2.route("/items/<int:item_id>")
    @app.route("/items/<int:item_id>", methods=["GET", "POST"])
    def item(item_id: int) -> str:
        return str(item_id)

    @app.route("/echo", methods=["POST"])
    def echo() -> bytes:
        return request.get_data()

    @app.route("/boom")
    def boom() -> str:
        raise ValueError("a secret")

    @app.route("/hang")
    def hang() -> str:
        Path(os.environ["HANGING"]).write_text(str(os.getpid()))
        time.sleep(60)
        return "never"

    @app.route("/events")
    def events() -> Response:
        def parts() -> Iterator[str]:
            with track_call("openai", "gpt-4o", agent_name="stream"):
                for number in range(int(request.args.get("count", 3))):
                    yield f"data: {number}\n\n"
                    time.sleep(0.01)

        return Response(stream_with_context(parts()), mimetype="text/event-stream")

    app.register_blueprint(v2)
    app.logger.disabled = True
    return app


def application(**options: Any) -> WSGIMetricsMiddleware:
    """One at the root and one that is mounted."""
    return WSGIMetricsMiddleware(DispatcherMiddleware(flask(), {"/mounted": flask()}), **options)


def on_prometheus() -> WSGIMetricsMiddleware:
    """For processes of their own, which show their metrics."""
    return application(metrics_path="/metrics")
