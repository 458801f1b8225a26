"""What the page's addresses answer, whatever server asks: the page, its state, or why not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Literal, NamedTuple
from urllib.parse import parse_qs

from agentmetrics.exposition.page.access import Access
from agentmetrics.exposition.page.document import document
from agentmetrics.exposition.page.feed import Feed
from agentmetrics.exposition.page.places import MAX_CLIENTS, Places

PATH = "/agentmetrics"
Part = Literal["", "events", "state", "runs"]
Headers = list[tuple[str, str]]

_PART = re.compile(rf"(?:.*)?{PATH}(?:/(|events|state|runs))?", re.ASCII)
_PARTS: dict[str, Part] = {"": "", "events": "events", "state": "state", "runs": "runs"}
_CLIENT = re.compile(r"[0-9a-zA-Z]{1,40}", re.ASCII)
_SAFE: Headers = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Frame-Options", "DENY"),
]
_NOTHING = "default-src 'none'; frame-ancestors 'none'"


class Answer(NamedTuple):
    """A status, headers and a body."""

    status: int
    headers: Headers
    body: bytes

    @property
    def line(self) -> str:
        """The status as WSGI has it."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


class Request(NamedTuple):
    """What an answer depends on; names of headers are in lower case."""

    method: str
    query: str
    headers: dict[str, str]

    @classmethod
    def of(cls, method: str, query: str, headers: Iterable[tuple[str, str]]) -> Request:
        return cls(method, query, {name.lower(): value for name, value in headers})

    def asked(self, name: str) -> str:
        try:
            return parse_qs(self.query, max_num_fields=20).get(name, [""])[0]
        except ValueError:
            return ""

    @property
    def last(self) -> str:
        """The last event that the client has: a browser that comes back says it in a header."""
        return self.headers.get("last-event-id") or self.asked("last")


def part_of(path: str) -> Part | None:
    """What of the page a path is; ``None`` for one that is not of the page."""
    found = _PART.fullmatch(path)
    return _PARTS[found[1] or ""] if found else None


class Page:
    """The page of one feed, for those who may see it."""

    def __init__(self, feed: Feed, access: Access) -> None:
        self.feed, self._access, self.places = feed, access, Places()

    def refusal(self, request: Request) -> Answer | None:
        """Why a request is not answered."""
        if request.method not in ("GET", "HEAD"):
            return _plain(405, "the page is only to be read\n", ("Allow", "GET, HEAD"))
        if not self._access.is_right_host(request.headers):
            return _plain(
                403,
                "This server shows its page under a name of this machine alone, such as "
                "localhost. To show it under others, set AGENTMETRICS_PAGE=on.\n",
            )
        if not self._access.is_let_in(request.headers):
            realm = 'Basic realm="agentmetrics: any name, and the token", charset="UTF-8"'
            return _plain(401, "the token is missing or wrong\n", ("WWW-Authenticate", realm))
        return None

    def html(self, transport: Literal["events", "poll"]) -> Answer:
        made = document(transport)
        return _answer(200, "text/html; charset=utf-8", made.html, made.policy)

    def state(self, request: Request) -> Answer:
        """What is new since the client was last told, sampled now if that is due."""
        client = request.asked("client")
        if not self.places.take(client if _CLIENT.fullmatch(client) else ""):
            return self.full()
        self.feed.look()
        return _answer(200, "application/json", self.feed.since(request.last).body)

    def runs(self, request: Request) -> Answer:
        """The last runs that are new since the client was last told: for ``agentmetrics top``."""
        client = request.asked("client")
        if not self.places.take(client if _CLIENT.fullmatch(client) else ""):
            return self.full()
        return _answer(200, "application/json", self.feed.runs(request.last).body)

    def full(self) -> Answer:
        sentence = f"{MAX_CLIENTS} pages are open already\n"
        return _plain(503, sentence, ("Retry-After", "5"))

    def only_to_get(self) -> Answer:
        """To who asks for the head of a stream, as aiohttp answers by itself."""
        return _plain(405, "a stream of events is only to be read\n", ("Allow", "GET"))

    def answer(self, part: Part, request: Request) -> Answer:
        """The answer of a server that cannot stream."""
        refused = self.refusal(request)
        if refused is None and part == "events":
            refused = _plain(404, "this server has no events, only the state\n")
        if part == "runs":
            found = refused or self.runs(request)
        else:
            found = refused or (self.html("poll") if part == "" else self.state(request))
        return found if request.method != "HEAD" else found._replace(body=b"")


def events_headers() -> Headers:
    """Of a stream of events, which no proxy is to hold back."""
    return [
        ("Content-Type", "text/event-stream"),
        ("X-Accel-Buffering", "no"),
        ("Content-Security-Policy", _NOTHING),
        *_SAFE,
    ]


def _plain(status: int, sentence: str, *more: tuple[str, str]) -> Answer:
    return _answer(status, "text/plain; charset=utf-8", sentence.encode(), _NOTHING, *more)


def _answer(
    status: int, kind: str, body: bytes, policy: str = _NOTHING, *more: tuple[str, str]
) -> Answer:
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Content-Security-Policy", policy),
    ]
    return Answer(status, [*headers, *_SAFE, *more], body)
