"""The services that all ends share: one StatsD daemon and one Redis."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.ends.ends import End
from tests.ends.place import Kept, Place
from tests.services.redis import running_redis
from tests.services.statsd import StatsDDaemon


class House:
    """Runs ends, each in a place of its own."""

    def __init__(self, directory: Path, statsd: StatsDDaemon, broker: Callable[[], str]) -> None:
        self._directory, self._statsd, self._broker = directory, statsd, broker
        self._numbers = itertools.count()

    def place(self) -> Place:
        """A new one, with nothing in it."""
        directory = self._directory / str(next(self._numbers))
        directory.mkdir()
        return Place(directory, self._statsd, self._broker)

    def measure(self, end: End) -> Kept:
        """What there is after this end."""
        place = self.place()
        end.way(place)
        return place.kept()


@contextmanager
def house() -> Iterator[House]:
    """Redis is started by the first end that needs it."""
    with tempfile.TemporaryDirectory(prefix="ends-") as name, ExitStack() as running:
        directory = Path(name)
        daemon = StatsDDaemon(directory)
        daemon.start()
        running.callback(daemon.stop)
        servers: list[Callable[[int], str]] = []
        databases = itertools.count()

        def broker() -> str:
            if not servers:
                servers.append(running.enter_context(running_redis(directory)).url)
            return servers[0](next(databases))

        yield House(directory, daemon, broker)
