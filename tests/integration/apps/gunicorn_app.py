"""A WSGI application that makes one instrumented call a request, for gunicorn in multiprocess mode.

Right after a call has ended its worker adds a line to a ledger of its own: what was counted is
compared with that, not with what reached the client.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from agentmetrics import MetricsCallbackHandler
from agentmetrics.exposition import make_wsgi_app

LEDGERS = Path(os.environ["LEDGERS"])
HANGING = "hanging"
SLOW = 2000
"""A call that bills this many tokens takes two seconds."""


class Model(BaseChatModel):
    """Answers with as many tokens as it is asked for; hangs when asked to."""

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "fake", "ls_model_name": "fake-1", "ls_model_type": "chat"}

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        asked = str(messages[-1].content)
        if asked == HANGING:
            (LEDGERS / HANGING).write_text(str(os.getpid()))
            time.sleep(60)
        tokens = int(asked)
        time.sleep(2 if tokens == SLOW else 0.002)
        usage: Any = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}
        message = AIMessage("", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


handler = MetricsCallbackHandler(agent_name="server")
model = Model(callbacks=[handler])
metrics = make_wsgi_app()


def call(asked: str) -> None:
    model.invoke(asked)
    # One write to a file opened for appending is whole, also when the process is killed next.
    with (LEDGERS / f"{os.getpid()}.ledger").open("a") as ledger:
        ledger.write(f"{asked}\n")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/metrics":
        return metrics(environ, start_response)
    call(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


call("1000")  # before the server listens; with --preload, before the workers are forked
