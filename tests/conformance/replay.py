"""A loopback server that answers below ``/<wire>/<case>`` with that case's response."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.conformance.case import CASES, Case
from tests.conformance.wires import WIRES

_NO_KEEP_ALIVE = {"connection": "close"}  # a connection would outlast its event loop


class _CutError(Exception):
    """Ends a response in the middle: the server closes the connection."""


def _stream(case: Case) -> Iterator[bytes]:
    frames = WIRES[case.wire].frame(case.events)
    if case.ends == "cut":
        yield from islice(frames, len(case.events))  # not what ends a stream
        raise _CutError
    yield from frames


async def _answer(request: Request) -> Response:
    wire, name = request.path_params["wire"], request.path_params["name"]
    case = Case.read(CASES / wire / f"{name}.json")
    headers = {**_NO_KEEP_ALIVE, **case.headers}
    if case.streamed:
        media = WIRES[wire].content_type
        return StreamingResponse(_stream(case), case.http_status, headers, media)
    return JSONResponse(case.body, case.http_status, headers)


@contextmanager
def replaying() -> Iterator[str]:
    """The server's URL; a case's base URL is that and its ``id``."""
    app = Starlette(routes=[Route("/{wire}/{name}/{path:path}", _answer, methods=["POST"])])
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
