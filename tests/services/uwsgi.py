"""The real uWSGI, which the package index has as a source that the machine's compiler builds."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def uwsgi() -> str:
    """The path of the server, of this virtual environment or else of the machine."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("uwsgi", path=places)
    assert found, "uwsgi is not installed: pip install uwsgi, which needs a C compiler"
    return found
