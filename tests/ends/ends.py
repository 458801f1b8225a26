"""The ends: what is started, and how it is ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from tests.ends.place import SECONDS, Place, python
from tests.services.webserver import ask, wait_for

CALLS = 6
Way = Callable[[Place], None]


@dataclass(frozen=True)
class End:
    """A row of the table. At an end that is not ordinary, the process that has made the calls has
    no chance to do anything: what it had not sent, StatsD lacks."""

    group: str
    name: str
    way: Way
    is_ordinary: bool = True

    @property
    def id(self) -> str:
        return f"{self.group}: {self.name}"


def ends() -> list[End]:
    """All of them, in the order of the page."""
    return list(
        chain(_program(), _forks(), _children(), _uvicorn(), _gunicorn(), _uwsgi(), _celery())
    )


PLAIN = "tests.ends.programs.plain"


def _ending(name: str, status: int = 0) -> Way:
    return lambda place: place.run(*python(PLAIN, name), status=status)


def _told(name: str, how: signal.Signals, status: int) -> Way:
    """A program that waits is told to end; it has a call in flight."""

    def way(place: Place) -> None:
        with place.running(*python(PLAIN, name)) as process:
            place.until_ready(process)
            assert place.in_flight() == 1
            place.stop(process, how, status)

    return way


def _program() -> Iterator[End]:
    def end(name: str, way: Way, is_ordinary: bool = True) -> End:
        return End("A program", name, way, is_ordinary)

    term, interrupt, kill = signal.SIGTERM, signal.SIGINT, signal.SIGKILL
    yield end("runs to its end", _ending("end"))
    yield end("an exception", _ending("raise", 1))
    yield end("`sys.exit(3)`", _ending("sys.exit", 3))
    yield end("a thread goes on after the main one", _ending("thread"))
    yield end("SIGTERM, default handler", _told("wait", term, -term))
    yield end("SIGTERM, a handler that exits", _told("handler-exits", term, 0))
    yield end("SIGTERM, a handler that sets a flag", _told("handler-flag", term, 0))
    yield end("SIGTERM, raised again after shutdown", _told("handler-again", term, -term))
    yield end("SIGINT (Ctrl-C)", _told("wait", interrupt, -interrupt))
    yield end("`os.execv`", _ending("execv"), False)
    yield end("`os._exit`", _ending("os._exit"), False)
    yield end("`os.abort`", _ending("os.abort", -signal.SIGABRT), False)
    yield end("a segmentation fault", _ending("segfault", -signal.SIGSEGV), False)
    yield end("SIGKILL, as when memory is full", _told("wait", kill, -kill), False)


def _forks() -> Iterator[End]:
    def end(name: str, way: str, is_ordinary: bool = True) -> End:
        return End("A fork", name, _ending(way), is_ordinary)

    yield end("`os.fork`", "fork")
    yield end("a fork in C", "fork-in-c")
    yield end("a fork in C, then `os._exit` in the child", "fork-in-c-_exit", False)


def _children() -> Iterator[End]:
    def end(package: str, method: str, way: str) -> End:
        def run(place: Place) -> None:
            place.run(*python("tests.ends.programs.children", package, method, way))

        return End(f"{package}, {method}", f"`{way}`", run)

    for method in ("fork", "spawn", "forkserver"):
        for way in ("Process", "Pool", "Pool.terminate", "ProcessPoolExecutor"):
            yield end("multiprocessing", method, way)
    yield end("multiprocessing", "fork", "maxtasksperchild")
    yield end("billiard", "fork", "Process")
    yield end("billiard", "fork", "Pool")


def _server(group: str, *command: str, idle_seconds: float = 0) -> Callable[..., End]:
    """Ends of a server that has answered some requests, so long ago."""

    def end(
        name: str,
        *options: str,
        how: signal.Signals = signal.SIGTERM,
        status: int = 0,
        is_ordinary: bool = True,
    ) -> End:
        def way(place: Place) -> None:
            with place.serving(*command, *options) as (process, port):
                place.request(port, CALLS)
                time.sleep(idle_seconds)
                place.stop(process, how, status)

        return End(group, name, way, is_ordinary)

    return end


WSGI, ASGI = "tests.ends.programs.web:wsgi", "tests.ends.programs.web:asgi"
WARM = "tests.ends.programs.warm:wsgi"
UVICORN = (*python("uvicorn", "--port=PORT", "--no-access-log", "--lifespan=off"), ASGI)


def _uvicorn() -> Iterator[End]:
    end = _server("uvicorn", *UVICORN)
    yield end("SIGTERM", status=-signal.SIGTERM)
    yield end("SIGINT", how=signal.SIGINT)
    yield end("`--workers 2`, SIGTERM", "--workers=2")
    yield End("uvicorn", "`--limit-max-requests`", _used_up)


def _used_up(place: Place) -> None:
    limit = f"--limit-max-requests={CALLS}"
    with place.serving(*UVICORN, limit) as (process, port):
        place.request(port, CALLS)
        place.until_ended(process)


GUNICORN = (*python("gunicorn", "--bind=127.0.0.1:PORT"), "--graceful-timeout=5")


def _gunicorn() -> Iterator[End]:
    end = _server("gunicorn", *GUNICORN)
    two = "--workers=2"
    yield end("sync, stopped", two, WSGI)
    yield end("gthread, stopped", two, "--worker-class=gthread", "--threads=2", WSGI)
    yield end("gevent, stopped", two, "--worker-class=gevent", WSGI)
    yield end("gevent, `--preload`, stopped", two, "--worker-class=gevent", "--preload", WSGI)
    worker = "--worker-class=uvicorn.workers.UvicornWorker"
    yield end("UvicornWorker, stopped", two, worker, ASGI)
    yield end("`--preload`, stopped", two, "--preload", WSGI)
    yield end("`--preload` with a call before the fork, stopped", two, "--preload", WARM)
    yield end("SIGINT (quick shutdown)", two, WSGI, how=signal.SIGINT)
    yield end("`--max-requests 2`", two, "--max-requests=2", WSGI)
    yield End("gunicorn", "SIGHUP (reload)", _reloaded)
    yield End("gunicorn", "a worker that times out", _timed_out)
    yield End("gunicorn", "a worker killed by SIGKILL", _killed, is_ordinary=False)


def _reloaded(place: Place) -> None:
    with place.serving(*GUNICORN, "--workers=2", WSGI) as (process, port):
        place.request(port, CALLS)
        before = place.workers(process)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: not before & place.workers(process), SECONDS)
        place.stop(process, signal.SIGTERM)


def _timed_out(place: Place) -> None:
    """The server ends the worker by SIGABRT, for which it has a handler."""
    with place.serving(*GUNICORN, "--timeout=1", WSGI) as (process, port):
        place.request(port, CALLS)
        (stuck,) = place.workers(process)
        with suppress(OSError):  # nobody is left to answer
            ask(port, "GET", "/hold")
        wait_for(lambda: stuck not in place.workers(process), SECONDS)
        place.stop(process, signal.SIGTERM)


def _killed(place: Place) -> None:
    with place.serving(*GUNICORN, WSGI) as (process, port):
        place.request(port, CALLS)
        (worker,) = place.workers(process)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: worker not in place.workers(process), SECONDS)
        place.stop(process, signal.SIGTERM)


UWSGI = (
    *("uwsgi", "--http-socket=127.0.0.1:PORT", "--master"),
    *("--processes=2", "--enable-threads", "--need-app", "--die-on-term"),
)


def _uwsgi() -> Iterator[End]:
    # A worker that still is busy with its last request when it is stopped runs nothing of Python's.
    end = _server("uWSGI", *UWSGI, idle_seconds=0.5)
    yield end("stopped", f"--module={WSGI}")
    yield end("`--lazy-apps`, stopped", f"--module={WSGI}", "--lazy-apps")
    # Nothing of Python runs in a master once it has forked: of its own call the ledger hears later.
    yield end("stopped, with a call before the fork", f"--module={WARM}", is_ordinary=False)


def _celery() -> Iterator[End]:
    def end(name: str, *options: str, how: signal.Signals = signal.SIGTERM, status: int = 0) -> End:
        return End("Celery", name, lambda place: _worker(place, options, how, status))

    yield end("warm shutdown (SIGTERM)", "--pool=prefork")
    yield end("cold shutdown (SIGQUIT)", "--pool=prefork", how=signal.SIGQUIT)
    yield end("`--max-tasks-per-child 1`", "--pool=prefork", "--max-tasks-per-child=1")
    yield end("`--pool solo`", "--pool=solo")
    yield end("`--pool threads`", "--pool=threads")


def _worker(place: Place, options: tuple[str, ...], how: signal.Signals, status: int) -> None:
    from celery import Celery

    broker = place.broker
    command = (
        *python("celery", "-A", "tests.ends.programs.tasks", "worker", "--concurrency=2"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", *options),
    )
    with place.running(*command, env={"ENDS_BROKER": broker}) as process:
        with Celery("sender", broker=broker) as sender:
            for _ in range(CALLS):
                sender.send_task("call", queue="ends")
        place.until_acknowledged(process, CALLS)
        place.stop(process, how, status)
