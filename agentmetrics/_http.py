"""HTTP requests that go where they are sent, or fail."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - a host's name is encoded with it, and no thread is to import
from typing import Any
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    build_opener,
    getproxies_environment,
)


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None  # the answer stays what it is: an error


def opener() -> OpenerDirector:
    """One that uses the proxies that the environment names, and follows no redirect.

    urllib would make a GET of a redirected POST, and count that as done.
    """
    # Not the system's own settings, which macOS cannot be asked for after a fork.
    return build_opener(_NoRedirects, ProxyHandler(getproxies_environment()))
