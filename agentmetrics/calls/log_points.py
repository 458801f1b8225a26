"""The five log points of a call: start, request, response, metrics, error.

They are at DEBUG on the logger ``agentmetrics.calls`` and have labels, numbers and times in them,
never any prompt, reply, argument or error text.
"""

from __future__ import annotations

from agentmetrics.calls.facts import LLMCall
from agentmetrics.calls.outcome import SUCCESS
from agentmetrics.errors import BudgetExceeded
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics.calls")


LOOK_SECONDS = 0.1
"""How often a pipeline looks whether anybody reads them, so that a call pays nothing for it."""


def wanted() -> bool:
    """Whether anybody reads them."""
    return logger.wants_debug


def started(call: LLMCall) -> None:
    """A call begins."""
    logger.debug("start %s", _labels(call))


def requested(call: LLMCall) -> None:
    """No budget refuses it: the request goes to the provider."""
    logger.debug("request %s", _labels(call))


def refused(call: LLMCall, error: BudgetExceeded) -> None:
    """A budget refuses it: nothing is sent."""
    logger.debug("error %s error_type=budget_exceeded budget=%r", _labels(call), error.budget)


def ended(call: LLMCall) -> None:
    """The call is over and recorded."""
    seconds = call.ended - call.started
    if call.status == SUCCESS:
        logger.debug(
            "response %s seconds=%.6f cached=%s", _labels(call), seconds, str(call.cached).lower()
        )
    else:
        logger.debug(
            "error %s status=%s error_type=%s seconds=%.6f",
            _labels(call), call.status, call.error_type or "none", seconds,
        )  # fmt: skip
    usage = call.usage
    logger.debug(
        "metrics %s status=%s input_tokens=%s output_tokens=%s cost_usd=%s",
        _labels(call),
        call.status,
        _known(None if usage is None else usage.input_tokens),
        _known(None if usage is None else usage.output_tokens),
        _known(call.cost_usd),
    )


def _labels(call: LLMCall) -> str:
    return f"agent_name={call.agent_name!r} provider={call.provider!r} model={call.model!r}"


def _known(number: float | None) -> str:
    return "unknown" if number is None else f"{number:.9f}".rstrip("0").rstrip(".") or "0"
