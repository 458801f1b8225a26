"""wrap: a provider SDK's client, whose calls are all recorded from then on."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from agentmetrics.recording.metric import classes_of, clean_label, module_of, name_of
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources import seen
from agentmetrics.sources.wrap.requests import Recording

C = TypeVar("C")

_SDKS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "mistralai": "mistral",
    "groq": "groq",
    "cohere": "cohere",
    "ollama": "ollama",
    "botocore": "bedrock",
}
"""By the package that a client's class is in, the module here that knows it."""
_SUPPORTED = (
    "OpenAI, AsyncOpenAI, AzureOpenAI, AsyncAzureOpenAI, Anthropic, AsyncAnthropic and its clients "
    "of Bedrock and Vertex, genai.Client, Mistral, Groq, AsyncGroq, cohere.ClientV2 and "
    "cohere.Client, sync and async, ollama.Client, ollama.AsyncClient, and boto3's bedrock-runtime"
)
_MARK = "_agentmetrics_recording"


class _SDK(Protocol):
    CLASSES: tuple[str, ...]

    def attach(self, client: Any, recording: Recording) -> None: ...


def wrap(
    client: C,
    *,
    agent_name: str | None = None,
    provider: str | None = None,
    recorder: Recorder | None = None,
) -> C:
    """Record every call that this client makes, streams included, and return it.

    It is the same object, and does what it did; clients that its ``with_options()`` or ``copy()``
    makes are recorded too, and no other one. Retries that the SDK makes are part of their call,
    requests to others than models are no calls, and a call that a ``MetricsCallbackHandler`` or a
    ``track_call`` around it records already is not recorded twice.

    ``agent_name`` defaults to that of the enclosing agent, found as for ``track_call``,
    ``provider`` to that of the SDK, or of the host of its base URL, and ``recorder`` to the
    configured one at each call. When a budget blocks a call, the client's method raises
    ``BudgetExceeded`` and makes no request.

    Raises ``TypeError`` for what is no client of a known SDK, and ``ValueError`` when the client is
    wrapped already with another ``agent_name``, ``provider`` or ``recorder``.
    """
    recording = Recording(clean_label(agent_name) or None, clean_label(provider) or None, recorder)
    sdk = _sdk_of(client)
    if sdk is None:
        raise TypeError(
            f"wrap() takes a client of {_SUPPORTED}, not {_name_of(client)}: "
            "record other calls with track_call()"
        )
    before = vars(client).get(_MARK)
    if before is None:
        _record(client, sdk, recording)
    elif not recording.is_like(before):
        raise ValueError(
            f"this {type(client).__name__} is wrapped already with another agent_name, provider or "
            "recorder: wrap a client for each, or name the agent with track_run()"
        )
    return client


def _record(client: Any, sdk: _SDK, recording: Recording) -> None:
    sdk.attach(client, recording)
    setattr(client, _MARK, recording)
    seen.ask()
    copy = getattr(client, "with_options", None)
    if copy is not None:

        def copied(*args: Any, **kwargs: Any) -> Any:
            other = copy(*args, **kwargs)
            _record(other, sdk, recording)
            return other

        client.copy = client.with_options = copied


def _sdk_of(client: object) -> _SDK | None:
    for cls in classes_of(client):
        module = _SDKS.get(module_of(cls).partition(".")[0])
        if module is not None:
            sdk = cast("_SDK", import_module(f"agentmetrics.sources.wrap.{module}"))
            if name_of(cls) in sdk.CLASSES:
                return sdk
    return None


def _name_of(client: object) -> str:
    is_class = issubclass(type(client), type)  # and not what only says so
    cls: Any = client if is_class else type(client)
    kind = "the class " if is_class else ""
    return f"{kind}{module_of(cls)}.{name_of(cls)}"
