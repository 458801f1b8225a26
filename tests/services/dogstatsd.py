"""What a Datadog Agent does with DogStatsD, as its documentation says, and nothing beyond it.

The grammar of lines is that of "Datagram Format", versions 1.0 to 1.2 of the protocol; the mapper
that of "DogStatsD Mapper".
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services.process import free_port
from tests.services.statsd import eventually

LINE = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_.]{0,199})"
    r"(?P<values>(?::-?[0-9]+(?:\.[0-9]+)?)+)"
    r"\|(?P<type>c|g|d|h|ms)"
    r"(?:\|@(?P<rate>[0-9]+(?:\.[0-9]+)?))?"
    r"(?:\|#(?P<tags>[^|\n]+))?"
    r"(?:\|c:(?P<container>(?:ci|in)-[0-9a-zA-Z_-]+))?"
)
TAG = re.compile(r"(?P<key>[A-Za-z][^:,|\s]*):(?P<value>[^,|\s]+)")


@dataclass(frozen=True)
class Message:
    """One line, taken apart."""

    name: str
    values: tuple[float, ...]
    type: str
    rate: float
    tags: tuple[tuple[str, str], ...]
    container: str | None

    @property
    def weight(self) -> int:
        """How often each value counts: the Agent cuts off what is not whole."""
        return int(1 / self.rate)


def parsed(line: str) -> Message:
    """The line by the grammar; ``AssertionError`` when it is not of it."""
    found = LINE.fullmatch(line)
    assert found, f"no line of DogStatsD: {line!r}"
    tags = [TAG.fullmatch(each) for each in found["tags"].split(",")] if found["tags"] else []
    assert all(tags), f"a tag is none: {line!r}"
    pairs = tuple((each["key"], each["value"]) for each in tags if each)
    assert len(dict(pairs)) == len(pairs), f"a tag stands twice: {line!r}"
    rate = float(found["rate"] or 1)
    assert 0 < rate <= 1
    assert rate == 1 or found["type"] != "g"
    values = tuple(float(value) for value in found["values"].split(":")[1:])
    return Message(found["name"], values, found["type"], rate, pairs, found["container"])


Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Agent:
    """One that listens at ``url``, adds up what it hears, and can end and begin again there."""

    url: str
    packets: list[bytes] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @classmethod
    def at(cls, scheme: str, directory: Path) -> Agent:
        """An Agent that has not begun, at an address that is free."""
        if scheme == "udp":
            return cls(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}")
        return cls(f"{scheme}://{directory / 'dsd.socket'}")

    @property
    def path(self) -> str:
        return self.url.split("://")[1]

    def start(self) -> None:
        self._stop = threading.Event()
        if self.url.startswith("unixstream:"):
            work, listening = self._accept, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        elif self.url.startswith("unix:"):
            work, listening = self._receive, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        else:
            work, listening = self._receive, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if listening.family == socket.AF_UNIX:
            with suppress(FileNotFoundError):  # the Agent removes what it left behind
                os.unlink(self.path)  # noqa: PTH108
            listening.bind(self.path)
        else:
            host, _, port = self.path.rpartition(":")
            listening.bind((host, int(port)))
        if listening.type == socket.SOCK_STREAM:
            listening.listen()
        listening.settimeout(0.02)
        self._thread = threading.Thread(target=work, args=(listening,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it as a kill does: a unix socket's file stays, and refuses."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _receive(self, listening: socket.socket) -> None:
        with listening:
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    self.packets.append(listening.recv(65536))

    def _accept(self, listening: socket.socket) -> None:
        readers: list[threading.Thread] = []
        with listening:
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    reader = threading.Thread(
                        target=self._read, args=(listening.accept()[0],), daemon=True
                    )
                    reader.start()
                    readers.append(reader)
        for reader in readers:
            reader.join()

    def _read(self, peer: socket.socket) -> None:
        peer.settimeout(0.02)
        heard = b""
        with peer:
            while not self._stop.is_set():
                try:
                    received = peer.recv(65536)
                except TimeoutError:
                    continue
                heard += received
                while len(heard) >= 4 and len(heard) >= 4 + struct.unpack("<I", heard[:4])[0]:
                    end = 4 + struct.unpack("<I", heard[:4])[0]
                    self.packets.append(heard[4:end])
                    heard = heard[end:]
                if not received:
                    return

    def settle(self) -> None:
        """Return when it has read every datagram that it was sent before."""
        mark = b"mark:%d|c" % time.monotonic_ns()
        kind = socket.AF_UNIX if self.url.startswith("unix:") else socket.AF_INET
        host, _, port = self.path.rpartition(":")
        with socket.socket(kind, socket.SOCK_DGRAM) as sender:
            sender.sendto(mark, self.path if kind == socket.AF_UNIX else (host, int(port)))
        assert eventually(lambda: mark in self.packets[-1:])
        self.packets.remove(mark)

    # What it has

    def lines(self) -> list[str]:
        return [line for packet in list(self.packets) for line in packet.decode().split("\n")]

    def messages(self) -> list[Message]:
        return [parsed(line) for line in self.lines() if line]

    def counters(self) -> dict[Series, float]:
        sums: dict[Series, float] = defaultdict(float)
        for each in self.messages():
            if each.type == "c":
                sums[each.name, each.tags] += sum(each.values) * each.weight
        return dict(sums)

    def gauges(self) -> dict[Series, float]:
        """The last value of each; a sign is no step here, unlike in StatsD."""
        found = self.messages()
        return {(each.name, each.tags): each.values[-1] for each in found if each.type == "g"}

    def gauges_of(self, name: str) -> list[float]:
        """The last value of each of its series."""
        return [value for (each, _), value in self.gauges().items() if each == name]

    def distributions(self) -> dict[Series, tuple[int, float]]:
        """How many values each has, and their sum."""
        sums: dict[Series, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
        for each in self.messages():
            if each.type == "d":
                count, total = sums[each.name, each.tags]
                count += each.weight * len(each.values)
                sums[each.name, each.tags] = count, total + each.weight * sum(each.values)
        return dict(sums)

    def counted(self, name: str) -> float:
        """The sum of a counter over its series."""
        return sum(value for (each, _), value in self.counters().items() if each == name)


@contextmanager
def agent_at(scheme: str, directory: Path) -> Iterator[Agent]:
    """An Agent that listens over ``udp``, ``unix`` or ``unixstream``."""
    agent = Agent.at(scheme, directory)
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()


# The mapper

_EXPANDED = re.compile(r"\$(?:(\d+)|\{(\d+)\})")


def mapped(profiles: Sequence[Mapping[str, Any]], name: str) -> tuple[str, dict[str, str]] | None:
    """The name and the tags that these ``dogstatsd_mapper_profiles`` make of a name: of the first
    mapping that matches, in the profiles whose prefix it has. ``None`` if there is none."""
    for profile in profiles:
        assert profile.keys() == {"name", "prefix", "mappings"}
        if profile["prefix"] != "*" and not name.startswith(profile["prefix"]):
            continue
        for mapping in profile["mappings"]:
            assert mapping.keys() == {"match", "match_type", "name", "tags"}
            assert mapping["match_type"] == "regex"  # wildcards are for names without hyphens
            found = re.fullmatch(mapping["match"], name)
            if found:
                tags = {key: _expanded(text, found) for key, text in mapping["tags"].items()}
                return _expanded(mapping["name"], found), tags
    return None


def _expanded(text: str, found: re.Match[str]) -> str:
    return _EXPANDED.sub(lambda it: found[int(it[1] or it[2])], text)
