"""One call of a case through the real LangChain package, with any callback handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tests.conformance.case import CASES, Case
from tests.conformance.wires import WIRES

PROMPT = "What is the tallest mountain?"


def _invoke(model: Any, config: Any) -> None:
    model.invoke(PROMPT, config)


def _stream(model: Any, config: Any) -> None:
    for _ in model.stream(PROMPT, config):
        pass


def _ainvoke(model: Any, config: Any) -> None:
    asyncio.run(model.ainvoke(PROMPT, config))


def _astream(model: Any, config: Any) -> None:
    async def read() -> None:
        async for _ in model.astream(PROMPT, config):
            pass

    asyncio.run(read())


def _events(model: Any, config: Any) -> None:
    _ = model.stream_events(PROMPT, config, version="v3").output


def _aevents(model: Any, config: Any) -> None:
    async def read() -> None:
        await (await model.astream_events(PROMPT, config, version="v3"))
        await asyncio.sleep(0.01)  # the end event comes after the output

    asyncio.run(read())


UNARY: Mapping[str, Callable[[Any, Any], None]] = {"invoke": _invoke, "ainvoke": _ainvoke}
STREAMED: Mapping[str, Callable[[Any, Any], None]] = {"stream": _stream, "astream": _astream}
EVENTS: Mapping[str, Callable[[Any, Any], None]] = {"events": _events, "aevents": _aevents}
WAYS = {**UNARY, **STREAMED}


def ways(case: Case) -> tuple[str, ...]:
    """How a case can be run: an HTTP error answers a request for a stream, too."""
    if case.failed and not case.ways:
        return tuple(WAYS)
    return case.ways or tuple(STREAMED if case.streamed else UNARY)


@lru_cache(maxsize=1)
def _model(wire: str, name: str, url: str) -> Any:
    """The model of a case, made once for all its ways: some packages read certificates for it."""
    case = Case.read(CASES / wire / f"{name}.json")
    return WIRES[wire].client(case, f"{url}/{case.id}")


def ask(case: Case, way: str, url: str, callbacks: Sequence[Any]) -> Exception | None:
    """Run a case and return what the model raised, which is the case's own affair."""
    model = _model(case.wire, case.name, url)
    try:
        (EVENTS.get(way) or WAYS[way])(model, {"callbacks": list(callbacks)})
    except Exception as error:
        return error
    return None
