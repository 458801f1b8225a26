"""Where a server of metrics listens, and why it may not be able to."""

from __future__ import annotations

import errno
import os
import socket

LOOPBACK = "127.0.0.1"

_WHY = {
    errno.EADDRINUSE: "the port is in use; choose another",
    errno.EADDRNOTAVAIL: "this machine has no such address; use 127.0.0.1 for itself or "
    "0.0.0.0 for all",
    errno.EACCES: "ports below 1024 require root; choose a higher one",
}


def cannot_listen(error: OSError | OverflowError, host: str, port: int) -> OSError:
    """The error of an address that is not available, in one sentence."""
    number = getattr(error, "errno", None) or errno.EINVAL
    if isinstance(error, OverflowError):
        why = "the port must be a number from 0 to 65535"
    elif isinstance(error, socket.gaierror):
        why = "the host name does not resolve"
    else:
        why = _WHY.get(number, os.strerror(number))
    return OSError(number, f"cannot serve metrics on {host}:{port}: {why}")
