"""pydantic-ai on a wrapped client: calls, tokens and cost, by the agent's name."""

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from agentmetrics import MemoryRecorder, wrap

recorder = MemoryRecorder()
client = wrap(AsyncOpenAI(), agent_name="geographer", recorder=recorder)
model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(openai_client=client))
print(Agent(model).run_sync("What is the tallest mountain?").output)
print(recorder.value("llm_calls_total"), recorder.value("llm_cost_usd_total"))
