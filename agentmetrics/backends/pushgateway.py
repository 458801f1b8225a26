"""A Pushgateway: what is pushed there as whom, and the requests that it takes.

The Pushgateway's README describes its API. Bodies are prometheus-client's; requests are not: its
path of a value ``..`` leads elsewhere, it counts a redirected push as done, and waits for a host's
name to be looked up for as long as that takes.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from itertools import starmap
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import Request

from prometheus_client import generate_latest

from agentmetrics._http import opener
from agentmetrics.backends.prometheus import PrometheusRecorder
from agentmetrics.errors import ConfigurationError, PushFailed
from agentmetrics.recording.deadline import InTime
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.recording.metric import check_label_name
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")

TIMEOUT_SECONDS = 5.0
_SAID_BYTES = 200
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Pushgateway:
    """One group on a Pushgateway: the labels that everything pushed there has.

    ``url`` may hold a user and a password, which are never shown. ``timeout_seconds`` is for a
    whole request, the look-up of the host's name included.

    Raises ``ConfigurationError`` on what a Pushgateway does not take.
    """

    url: str = field(repr=False)
    job: str
    grouping: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = field(default=TIMEOUT_SECONDS, compare=False)

    def __post_init__(self) -> None:
        self._address()
        if not self.job:
            raise ConfigurationError(
                "a push needs the name of its job: pass job='nightly', or set "
                "AGENTMETRICS_PUSHGATEWAY_JOB"
            )
        for name in self.grouping:
            if name == "job":
                raise ConfigurationError(
                    "the grouping has a label 'job', which is the job's own: use another name"
                )
            try:
                check_label_name(name)
            except ValueError as error:
                raise ConfigurationError(f"a label of the grouping: {error}") from None

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        address = self._address()
        return f"{address.scheme}://{_host(address)}{address.path.rstrip('/')}"

    def put(self, recorder: PrometheusRecorder) -> None:
        """Let the group have what is scraped of a recorder, and nothing else.

        Raises ``PushFailed``, as the others do.
        """
        self.wait_for(InTime(partial(self.put_now, recorder)))

    def put_now(self, recorder: PrometheusRecorder) -> None:
        """The same in this thread, which may wait longer than the timeout."""
        self._ask("PUT", self._group, _body(recorder))

    def add(self, recorder: PrometheusRecorder) -> None:
        """Let the group have what is scraped of a recorder, beside metrics of other names."""
        self.wait_for(InTime(lambda: self._ask("POST", self._group, _body(recorder))))

    def delete(self) -> None:
        """Delete the group and its metrics."""
        self.wait_for(InTime(partial(self._ask, "DELETE", self._group)))

    def wait_for(self, request: InTime) -> None:
        """Let a request run, which has until the timeout."""
        if not request.run(self.timeout_seconds):
            raise self._failed(f"did not answer in {self.timeout_seconds:g} s")

    def probe(self) -> str | None:
        """Why nothing can be pushed, or ``None``; it pushes nothing."""
        try:
            self.wait_for(InTime(partial(self._ask, "GET", "/-/ready")))
        except PushFailed as failed:
            return str(failed)
        return None

    @property
    def _group(self) -> str:
        labels = [("job", self.job), *sorted(self.grouping.items())]
        return "/metrics" + "".join(starmap(_segment, labels))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> None:
        request = Request(f"{self.shown}{path}", body, method=method)
        request.add_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        address = self._address()
        if address.username is not None:
            user, password = unquote(address.username), unquote(address.password or "")
            token = b64encode(f"{user}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            opener().open(request, timeout=self.timeout_seconds).close()
        except HTTPError as error:
            with error:
                said = error.read(_SAID_BYTES).decode("utf-8", "replace")
            answer = " ".join(f"{error.code} {error.reason}: {said}".split()).rstrip(": ")
            raise self._failed(f"refused with {answer}") from None
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                raise self._failed(f"did not answer in {self.timeout_seconds:g} s") from None
            raise self._failed(f"cannot be reached: {reason or type(error).__name__}") from None

    def _address(self) -> SplitResult:
        try:
            address = urlsplit(self.url if "://" in self.url else f"http://{self.url}")
            is_usable = address.scheme in ("http", "https") and bool(address.hostname)
            is_usable = is_usable and address.port != 0 and self.url.strip().isprintable()
            is_usable = is_usable and "@" not in address.path  # the rest of a password with a /
        except ValueError:  # a port that is none
            is_usable = False
        if not is_usable or address.query or address.fragment:
            raise ConfigurationError(
                "this is not the URL of a Pushgateway: use http://host:9091 or https://host, with "
                "user:password@ before the host where it asks for them"
            )
        return address

    def _failed(self, reason: str) -> PushFailed:
        return PushFailed(f"the Pushgateway at {self.shown} {reason} (job {self.job!r})")


def _body(recorder: PrometheusRecorder) -> bytes:
    recorder.flush()
    return generate_latest(recorder.scraped)


def _segment(name: str, value: str) -> str:
    """A label in a path; in base64 where a value could be read as something else there."""
    if _PLAIN.fullmatch(value):
        return f"/{name}/{value}"
    return f"/{name}@base64/{urlsafe_b64encode(value.encode()).decode() or '='}"


def _host(address: SplitResult) -> str:
    return address.netloc.rpartition("@")[2]


class PushAtExit:
    """Puts what a recorder has when the program ends, unless it was given up."""

    def __init__(self, gateway: Pushgateway, recorder: PrometheusRecorder) -> None:
        self.gateway = gateway
        self._pid = os.getpid()
        self._push_now = partial(gateway.put_now, recorder)
        self._push = InTime(self._push_now)

    def begin(self) -> None:
        close_at_exit(self)

    def give_up(self) -> None:
        skip_at_exit(self)
        self._push.cancel()

    def close(self) -> None:
        """Push; a failure is one warning in the log. A forked child leaves it to its parent."""
        self._wait_for(self._push)

    def flush(self) -> None:
        """The same where the program ends otherwise than by its exit, or goes on after all."""
        self._wait_for(InTime(self._push_now))

    def _wait_for(self, push: InTime) -> None:
        if os.getpid() != self._pid:
            return
        try:
            self.gateway.wait_for(push)
        except PushFailed as failed:
            logger.warning("nothing was pushed at exit: %s", failed)
        except Exception as error:  # of a collector on the registry, which may be anybody's
            logger.warning("nothing was pushed at exit: %s", type(error).__name__)
