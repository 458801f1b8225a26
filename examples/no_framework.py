"""No framework: track_call around a plain HTTP request to a server that speaks OpenAI's API."""

import os

import httpx

from agentmetrics import MemoryRecorder, track_call

BASE_URL = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o-mini")
COUNTERS = ("llm_calls_total", "llm_errors_total", "llm_tokens_total", "llm_cost_usd_total")
HEADERS = {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}

recorder = MemoryRecorder()  # without recorder=… the one that AGENTMETRICS_BACKEND names


def ask(question: str, model: str = MODEL) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    # The provider comes first. The call ends with the block: leave nothing else inside it.
    with track_call("openai", model, agent_name="asker", recorder=recorder) as call:
        response = httpx.post(
            f"{BASE_URL}/chat/completions", json=body, headers=HEADERS, timeout=60
        )
        response.raise_for_status()  # a status of 400 and above is an error, by its type
        call.record_response(response.json())  # the tokens, and the model that served
    return str(response.json()["choices"][0]["message"]["content"])


print(ask("In one sentence: what is a gauge?"))
try:
    ask("And a summary?", model="no-such-model")
except httpx.HTTPStatusError as error:
    print(f"refused with {error.response.status_code}")

for name, labels, value in recorder.samples():
    if value and name in COUNTERS:  # what may still come stands at 0
        print(name, " ".join(f"{label}={text}" for label, text in labels.items()), f"{value:g}")
