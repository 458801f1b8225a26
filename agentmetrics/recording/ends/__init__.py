"""The ways in which a process ends, a module each: where the end can be heard of before it comes.

Each is a hook: asked again and again, it looks whether its way is there in this process by now, and
puts itself in once. None imports a framework, and what is the program's is never replaced.
"""

from __future__ import annotations

from collections.abc import Callable

from agentmetrics.recording.ends import children, sigterm, uvicorn

Flush = Callable[[], None]
"""Flushes everything; it may come twice, and takes no longer than a deadline of its own."""

HOOKS: tuple[Callable[[Flush], None], ...] = (sigterm.hook, uvicorn.hook, children.hook)
