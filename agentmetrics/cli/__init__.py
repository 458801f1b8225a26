"""The command line: ``agentmetrics demo | check | serve | cost | prices | ops | top``."""

from __future__ import annotations

import errno
import os
import sys


def main() -> None:
    """The entry point; without the extra ``[cli]`` it says what to install."""
    try:
        from agentmetrics.cli.app import app
        from agentmetrics.cli.console import print_anywhere
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("typer", "rich"):
            raise
        sys.exit(
            f"agentmetrics: the command line needs the package {package!r}; "
            "install it with: pip install 'llm-agentmetrics[cli]'"
        )
    except KeyboardInterrupt:
        sys.exit(130)  # as a command that is interrupted ends later
    print_anywhere()
    try:
        try:
            app(prog_name="agentmetrics")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # as Python does later, when nobody can catch what it raises
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still in the buffer
        sys.exit(f"agentmetrics: cannot write its output: {error.strerror}")
