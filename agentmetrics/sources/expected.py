"""Series that exist at 0 before anything has happened, so that alerts see the first increment."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter

from agentmetrics.calls.context import extra_values, run_here
from agentmetrics.calls.facts import AgentRun, LLMCall
from agentmetrics.config.active import pipeline_for
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder


def expect(
    agents: Iterable[str], models: Iterable[str] = (), *, recorder: Recorder | None = None
) -> None:
    """Show runs of these agents, and calls of each of them to these models, as 0 from now on.

    ``models`` are written ``provider:model``, as in ``"openai:gpt-4o-mini"``, with the names that
    the labels of their calls have. A call makes its series at 0 when it starts, which is enough if
    a scrape falls between its start and its end; what is expected is there before the first call.
    Extra labels take the values of the enclosing ``agentmetrics.labels``. ``recorder`` defaults to
    the configured one.

    Raises ``ConfigurationError`` for a model without a provider, and for a single string where
    several names are meant.
    """
    pipeline = pipeline_for(recorder)
    names = [clean_label(name) for name in _several("agents", agents)]
    asked = [_split(model) for model in _several("models", models)]
    extra = extra_values(pipeline.extra_labels, (), run_here())
    now = perf_counter()
    for name in names:
        pipeline.expect(AgentRun(name, now, extra))
        for provider, model in asked:
            pipeline.expect(LLMCall(name, provider, model, now, None, extra))


def _several(what: str, names: Iterable[str]) -> list[str]:
    if isinstance(names, str):
        raise ConfigurationError(f"{what} must be a list of names, such as [{names!r}]")
    several = list(names)
    for name in several:
        if not isinstance(name, str):
            raise ConfigurationError(f"{what} must be names as text, not {name!r}")
    return several


def _split(model: str) -> tuple[str, str]:
    provider, colon, name = model.partition(":")
    if not (provider and colon and name):
        raise ConfigurationError(
            f"the model {model!r} has no provider: write it as 'provider:model', such as "
            "'openai:gpt-4o-mini'"
        )
    return clean_label(provider), clean_label(name)
