"""LangChain without an agent: one handler on one chain, called whole and streamed."""

import os

from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI

from agentmetrics import MemoryRecorder, MetricsCallbackHandler

# Behind a base URL of your own ChatOpenAI asks for the tokens of a stream only if it is told to.
model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"), stream_usage=True)
chain = ChatPromptTemplate.from_template("In one sentence: what is {subject}?") | model

# Without a recorder the handler takes the one that AGENTMETRICS_BACKEND names: leave it to the
# environment in a service. This one is for reading the values below.
recorder = MemoryRecorder()
handler = MetricsCallbackHandler(recorder, agent_name="explainer")
config: RunnableConfig = {"callbacks": [handler]}

print(chain.invoke({"subject": "a counter"}, config).content)
for chunk in chain.stream({"subject": "a histogram"}, config):
    print(chunk.content, end="", flush=True)
print()

calls = recorder.value("llm_calls_total", agent_name="explainer", status="success")
tokens = recorder.value("llm_tokens_total", agent_name="explainer")  # input and output
cost_usd = recorder.value("llm_cost_usd_total", agent_name="explainer")
unpriced = recorder.value("llm_unpriced_calls_total")  # calls without a known price
latency = recorder.histogram("llm_latency_seconds", agent_name="explainer")
first_token = recorder.histogram("llm_time_to_first_token_seconds")  # the streamed call alone
print(f"{calls:.0f} calls, {tokens:.0f} tokens, {cost_usd:.6f} USD, {unpriced:.0f} unpriced")
print(f"{latency.count} latencies and {first_token.count} time to first token observed")
