"""LlamaIndex on a wrapped client: calls, tokens and cost, by the agent's name."""

from llama_index.llms.openai import OpenAI
from openai import OpenAI as Client

from agentmetrics import MemoryRecorder, wrap

recorder = MemoryRecorder()
client = wrap(Client(), agent_name="geographer", recorder=recorder)
model = OpenAI("gpt-4o-mini", openai_client=client)
print(model.complete("What is the tallest mountain?").text)
print(recorder.value("llm_calls_total"), recorder.value("llm_cost_usd_total"))
