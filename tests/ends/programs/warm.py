"""A WSGI application that makes a call as soon as it is loaded, before its server forks."""

from __future__ import annotations

from tests.ends.programs.calls import call, hold
from tests.ends.programs.web import wsgi

__all__ = ["wsgi"]

hold()
call()
