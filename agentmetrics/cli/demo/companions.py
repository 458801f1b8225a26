"""Programs that run beside the demo: started, awaited until they answer, watched, and ended."""

from __future__ import annotations

import asyncio
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from agentmetrics.exposition import LOOPBACK

_READY_SECONDS = 60.0
_END_SECONDS = 10.0
_LAST_LINES = 5


class CompanionFailed(RuntimeError):  # noqa: N818 - the demo's own, never the user's
    """A program did not start, or ended by itself; the last lines of its output say why."""


@dataclass(frozen=True)
class Companion:
    """A program to run: its name for people, its command, its port, and where its output goes."""

    name: str
    command: Sequence[str]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Where it is on this machine."""
        return f"http://{LOOPBACK}:{self.port}"


def free_port(preferred: int) -> int:
    """The preferred port of loopback if nobody has it, else one that is free."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, preferred))
        except OSError:
            listening.bind((LOOPBACK, 0))
        return int(listening.getsockname()[1])


@asynccontextmanager
async def running(companions: Sequence[Companion], stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run the programs inside the block, which begins when all of them are ready.

    When one ends by itself, ``stopping`` is set. None of them is left afterwards. Raises
    ``CompanionFailed`` at the end of the block for one that ended by itself, and at its start for
    one that did not become ready.
    """
    started: list[tuple[Companion, Process]] = []
    try:
        for companion in companions:
            process = await _start(companion)
            started.append((companion, process))
        watching = asyncio.create_task(_watch(started, stopping))
        try:
            await _until_ready(companions, stopping)
            _check_all_run(started)
            yield
        finally:
            watching.cancel()
        _check_all_run(started)
    finally:
        await asyncio.gather(*(_end(process) for _, process in started))


async def _start(companion: Companion) -> Process:
    with companion.log.open("wb") as log:
        # In a session of its own Ctrl-C is for us alone, who end it in good order.
        return await asyncio.create_subprocess_exec(
            *companion.command, stdout=log, stderr=log, start_new_session=True
        )


async def _watch(started: Sequence[tuple[Companion, Process]], stopping: asyncio.Event) -> None:
    ends = [asyncio.create_task(process.wait()) for _, process in started]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopping.set()
    finally:
        for end in ends:
            end.cancel()


async def _until_ready(companions: Sequence[Companion], stopping: asyncio.Event) -> None:
    """Return when each answers, or when ``stopping`` is set."""
    deadline = asyncio.get_running_loop().time() + _READY_SECONDS
    async with aiohttp.ClientSession() as client:
        for companion in companions:
            while not (stopping.is_set() or await _is_ready(client, companion)):
                if asyncio.get_running_loop().time() > deadline:
                    raise CompanionFailed(
                        f"{companion.name} was not ready after {_READY_SECONDS:.0f} s"
                        f"{_last_lines(companion)}"
                    )
                await asyncio.sleep(0.1)


async def _is_ready(client: aiohttp.ClientSession, companion: Companion) -> bool:
    try:
        async with client.get(f"{companion.url}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _check_all_run(started: Sequence[tuple[Companion, Process]]) -> None:
    for companion, process in started:
        status = process.returncode
        if status is not None:
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            raise CompanionFailed(f"{companion.name} ended with {how}{_last_lines(companion)}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()


def _last_lines(companion: Companion) -> str:
    lines = companion.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    return (
        "".join(("; the end of its output:", *(f"\n  {line}" for line in lines))) if lines else ""
    )
