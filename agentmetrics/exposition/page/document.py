"""The page as one file, and the policy that lets nothing run or load but what is in it."""

from __future__ import annotations

import functools
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import Literal, NamedTuple

_STYLES = ("uPlot.min.css", "page.css")
_SCRIPTS = (
    "text.js",
    "elements.js",
    "state.js",
    "connection.js",
    "now.js",
    "charts.js",
    "runs.js",
    "page.js",
)


class Document(NamedTuple):
    """The HTML, and its Content-Security-Policy."""

    html: bytes
    policy: str


@functools.cache
def document(transport: Literal["events", "poll"]) -> Document:
    """The page; ``transport`` is how it is told of what is new."""
    style = "\n".join(map(_text, _STYLES))
    parts = "\n".join(map(_text, _SCRIPTS))
    script = f"(() => {{\n'use strict';\n{parts}}})();"  # its names are its own
    plot = _text("uPlot.iife.min.js")
    html = Template(_text("page.html")).substitute(
        transport=transport, style=style, uplot=plot, script=script
    )
    policy = {
        "default-src": "'none'",
        "script-src": f"{_hash(plot)} {_hash(script)}",
        "style-src": _hash(style),
        "connect-src": "'self'",
        "img-src": "data:",  # the icon, without which a browser asks for one
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return Document(html.encode(), "; ".join(map(" ".join, policy.items())))


def _text(name: str) -> str:
    text = files(__package__).joinpath("static").joinpath(name).read_text("utf-8")
    return text.replace("\r\n", "\n")  # as a browser hashes it


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
