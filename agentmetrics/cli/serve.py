"""``agentmetrics serve``: /metrics of a multiprocess directory, and the live page."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentmetrics.cli.console import fail, tell

_ENDING = (signal.SIGINT, signal.SIGTERM)


def run(directory: Path, host: str, port: int, page: bool | None) -> None:
    """Serve until SIGINT or SIGTERM, which end it with 0: there is no other way out."""
    from agentmetrics.backends.multiprocess import MultiprocessCollector
    from agentmetrics.exposition import serve_collector

    if not directory.is_dir():
        fail(f"{str(directory)!r} is not a directory: pass the one that the processes write to")
    with _held():
        try:
            collector = MultiprocessCollector(str(directory))
            server = serve_collector(collector, host=host, port=port, page=page)
        except ValueError as error:
            fail(str(error))
        except OSError as error:
            fail(error.strerror or str(error))
        with server:
            tell(f"Serving {directory} at {server.url} until Ctrl-C")
            if server.page_url is not None:
                tell(f"Live page: {server.page_url}")
            signal.sigwait(_ENDING)


@contextmanager
def _held() -> Iterator[None]:
    """Keep signals that end the program for ``sigwait``, in this thread and those it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
