"""The desk's agents: a clerk who answers from the orders, and an editor who shortens."""

import os

from database import Order, Session
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

import agentmetrics

agentmetrics.instrument()  # every LangChain run of the process, without passing callbacks


def order_status(order: int) -> str:
    """The status of an order."""
    with Session() as session:
        found = session.get(Order, order)
    return found.status if found else "unknown"


model = ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"), max_retries=0)
desk = StateGraph(MessagesState)
# The name is the label agent_name, of the agent's runs and of the calls and tools inside it.
desk.add_node("answer", create_agent(model, [order_status], name="clerk"))
desk.add_node("shorten", create_agent(model, [], name="editor"))
desk.add_edge(START, "answer")
desk.add_edge("answer", "shorten")
desk.add_edge("shorten", END)
graph = desk.compile()


def answer(question: str) -> str:
    """What the desk says to a question."""
    said = graph.invoke({"messages": [HumanMessage(question)]})
    return str(said["messages"][-1].content)
