"""LangGraph: two named agents with a tool each; metrics tell them apart by their names."""

import os

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

from agentmetrics import MemoryRecorder, MetricsCallbackHandler


def look_up(subject: str) -> str:
    """Look a subject up in the house's handbook."""
    return f"The handbook on {subject}: measure it before you change it."


def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))
graph = StateGraph(MessagesState)
# The name is the label agent_name, of the agent's runs and of the calls and tools inside it.
graph.add_node("research", create_agent(model, [look_up], name="researcher"))
graph.add_node("write", create_agent(model, [count_words], name="writer"))
graph.add_edge(START, "research")
graph.add_edge("research", "write")
graph.add_edge("write", END)

recorder = MemoryRecorder()  # in a service: agentmetrics.get_recorder(), by AGENTMETRICS_BACKEND
question = "Look up 'latency' and write one sentence on it; count its words with the tool."
answer = graph.compile().invoke(
    {"messages": [HumanMessage(question)]}, {"callbacks": [MetricsCallbackHandler(recorder)]}
)
print(answer["messages"][-1].content)
for name in ("researcher", "writer"):
    metrics = ("agent_runs_total", "llm_calls_total", "tool_executions_total", "llm_tokens_total")
    runs, calls, tools, tokens = (recorder.value(m, agent_name=name) for m in metrics)
    print(f"{name}: {runs=:.0f} {calls=:.0f} {tools=:.0f} {tokens=:.0f}")
