"""OpenAI's Agents SDK on a wrapped client: calls, tokens and cost, by the agent's name."""

from agents import Agent, OpenAIChatCompletionsModel, Runner
from openai import AsyncOpenAI

from agentmetrics import MemoryRecorder, track_run, wrap

recorder = MemoryRecorder()
client = wrap(AsyncOpenAI(), recorder=recorder)
model = OpenAIChatCompletionsModel(model="gpt-4o-mini", openai_client=client)
agent = Agent(name="geographer", model=model)
with track_run(agent.name, recorder=recorder):
    print(Runner.run_sync(agent, "What is the tallest mountain?").final_output)
print(recorder.value("llm_calls_total"), recorder.value("llm_cost_usd_total"))
