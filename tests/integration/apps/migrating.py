"""A service on its way from a module of its own to agentmetrics, driven over its standard input.

``python migrating.py PORT before.py after.py``: serves ``/metrics`` of the default registry on the
port. A number on standard input runs the snippets that often and makes a few more calls; a line on
standard output says that it is done. ``monitoring`` is the home-made module only where there is a
namespace for ours.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import openai
from prometheus_client import start_http_server

import agentmetrics
from tests.integration.apps import homemade

if "AGENTMETRICS_NAMESPACE" in os.environ:
    sys.modules["monitoring"] = homemade.make_module()
port, *snippets = sys.argv[1:]
programs = [compile(Path(snippet).read_text(), snippet, "exec") for snippet in snippets]
names = {
    "client": openai.OpenAI(max_retries=0),
    "messages": [{"role": "user", "content": "hello"}],
}
month = agentmetrics.Budget("openai", 1000, "monthly", scope={"provider": "openai"})
agentmetrics.configure(budgets=[month])
cache = agentmetrics.CacheTracker("prompt", entries=lambda: 1)
start_http_server(int(port), "127.0.0.1")
print("serving", flush=True)

for line in sys.stdin:
    for _ in range(int(line)):
        for program in programs:
            exec(program, dict(names))
        cache.miss()
        cache.hit()
        with (
            suppress(ValueError),
            agentmetrics.track_call("openai", "gpt-4o", agent_name="planner"),
        ):
            raise ValueError("of a kind that a module of one's own does not count")
    print("done", flush=True)
