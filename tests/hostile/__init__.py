"""What is hostile to metrics: nothing of it may reach the program. One module for each kind.

Part of every run in a short form, whole by ``make hostile``: ``HOSTILE_SCALE`` is how many times as
long as the short form it is.
"""

from __future__ import annotations

import os

SCALE = int(os.environ.get("HOSTILE_SCALE", "1"))
