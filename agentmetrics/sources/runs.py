"""An agent run that goes on in code of the program's own, and what is inside of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Token
from time import perf_counter
from typing import Any

from agentmetrics.budget.run_limits import hold_to_run_limits
from agentmetrics.calls.context import current_run, put_back
from agentmetrics.calls.facts import UNKNOWN, AgentRun
from agentmetrics.calls.table import OwnRunId
from agentmetrics.config.active import pipeline_for
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.collector import is_collecting
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.amounts import amount
from agentmetrics.sources.around import AgentAround, agent_around
from agentmetrics.sources.surroundings import place_run

_NO_LIMIT = (
    "the limit of a run is not a number of US dollars of at least 0, such as 0.5: its calls are "
    "refused"
)


class OpenRun:
    """A run that begins when this is made, and ends once it is ``left``."""

    def __init__(
        self, agent_name: str, recorder: Recorder | None, max_cost_usd: float | None
    ) -> None:
        self._pipeline = pipeline_for(recorder)
        self._run_id = OwnRunId()
        self.fact = AgentRun(clean_label(agent_name) or UNKNOWN, perf_counter())
        place_run(self._pipeline, self.fact)
        if max_cost_usd is not None:
            self.fact.max_cost_usd = self._limit(max_cost_usd)
            self._pipeline.guard(hold_to_run_limits)
        self._around = AgentAround(recorder, self.fact)
        self._pipeline.start(self._run_id, self.fact)

    def _limit(self, max_cost_usd: float) -> float:
        """The limit in USD; 0, which lets no call through, for what is none."""
        try:
            return amount(max_cost_usd)
        except Exception:
            self._pipeline.failed("max_cost_usd", ConfigurationError(_NO_LIMIT))
            return 0.0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Everything in the block belongs to the run."""
        if is_collecting() or current_run.get() is self.fact:
            yield
            return
        tokens: tuple[Token[Any], ...] = ()
        is_put_back = False
        try:
            tokens = current_run.set(self.fact), agent_around.set(self._around)
            yield
        finally:
            try:
                is_put_back = put_back(*tokens)
            finally:
                if not is_put_back:
                    self.fact.is_left = True

    def left(self, error: BaseException | None = None) -> None:
        """The run is over, as a success or as what ``error`` makes of it."""
        if self._pipeline.table.take(self._run_id) is not None:
            self._pipeline.finish(self.fact, error)
