"""A WSGI application of one call a request, and of one at its import: before the fork.

Every call that has ended is a byte in the file ACKNOWLEDGED, by whichever process made it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from agentmetrics import MemoryRecorder, track_call

_acknowledged = os.open(os.environ["ACKNOWLEDGED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_beside = MemoryRecorder()


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


def call() -> None:
    for recorder in (None, _beside):
        with track_call("openai", "gpt-4o-mini", recorder=recorder) as tracked:
            tracked.record_usage(input_tokens=1000, output_tokens=1000)
    os.write(_acknowledged, b".")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/call":
        call()
    answer = {
        "pid": os.getpid(),
        "calls": _beside.value("llm_calls_total"),
        "threads": threads(),
        "threads_at_import": _threads_at_import,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


call()
_threads_at_import = threads()
