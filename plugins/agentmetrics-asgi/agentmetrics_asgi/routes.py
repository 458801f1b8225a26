"""Which route a request belongs to: the template as its framework has it, never the path.

Each framework says it in its own way, and none of them before it has routed the request. What is
asked here are names that a framework leaves in the scope (ASGI) or in the environment (WSGI); no
framework is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

UNMATCHED = "unmatched"
"""The endpoint of a request that no route is known for: one series for all of them."""
MAX_TEMPLATES = 10_000
"""Routes that are remembered; a mount with a parameter has one for each of its values."""

Scope = MutableMapping[str, Any]


class Routes:
    """The routes of one ASGI application.

    Starlette and FastAPI leave the last route that matched in the scope, which under a mount or an
    included router has only the end of the template. The whole of it is found by matching again
    from the outermost router, once for each route.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._known: dict[tuple[Any, ...], tuple[Any, str]] = {}

    def endpoint(self, scope: Scope, path: str) -> str:
        """The template of the route that ``scope`` was given to; ``path`` is what was asked for.

        It has the prefixes of mounts, and not the ``root_path`` of the server.
        """
        template = scope.get("path_template")
        if isinstance(template, str) and "router" not in scope:  # Litestar
            return template or "/"
        key = _key(scope)
        if key is None:
            return self._matched(scope, path) or UNMATCHED
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_TEMPLATES:
                self._known.clear()
            found = self._matched(scope, path) or last_route(scope) or UNMATCHED
            # With the route itself, so that its id is not another's one day.
            known = self._known[key] = (scope["route"], found)
        return known[1]

    def _matched(self, scope: Scope, path: str) -> str | None:
        root = scope.get("app_root_path", scope.get("root_path", ""))
        routes = _outermost_routes(scope, self._app)
        if routes is None:
            return django_route(path, root)
        view = {
            "type": scope["type"],
            "method": scope.get("method", "GET"),
            "path": path if "path_template" in scope else scope["path"],
            "root_path": root,
            "headers": scope.get("headers", ()),
        }
        return _match(routes, view, scope)


def _key(scope: Scope) -> tuple[Any, ...] | None:
    """What tells one route from all others; ``None`` where the scope does not say enough."""
    route = scope.get("route")
    endpoint = scope.get("endpoint")
    if route is None or endpoint is None or getattr(route, "endpoint", None) is not endpoint:
        return None  # such as the mount around what was not found, or a route of old Starlettes
    inclusion = scope.get("fastapi", {}).get("effective_route_context")
    return id(route), id(inclusion), scope.get("root_path", "")


def last_route(scope: Scope) -> str | None:
    """The end of the template, as Starlette and FastAPI leave it in the scope."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def _outermost_routes(scope: Scope, app: Any) -> Iterable[Any] | None:
    for holder in (scope.get("router"), scope.get("app"), *_inside(app)):
        routes = _routes_of(holder)
        if routes is not None:
            return routes
    return None


def _routes_of(holder: Any) -> list[Any] | None:
    """The routes of a router, an application or a mount, if they are of Starlette's kind."""
    routes = getattr(holder, "routes", None)
    is_starlettes = isinstance(routes, list) and all(hasattr(r, "matches") for r in routes[:1])
    return routes if is_starlettes else None


def _inside(app: Any) -> Iterator[Any]:
    """An application, and those that it is a middleware around."""
    for _ in range(100):  # one that is around itself is somebody else's mistake
        yield app
        app = getattr(app, "app", None)
        if app is None:
            return


def _match(routes: Iterable[Any], view: Mapping[str, Any], scope: Scope) -> str | None:
    """The template of the first of these routes that matches; as Starlette's router does it, one
    whose path alone matches is the second choice."""
    second = None
    for route in _flat(routes):
        match, child = route.matches(view)
        if match.name == "NONE":
            continue
        template = _template(route, {**view, **child}, scope)
        if match.name == "FULL":
            return template
        second = second or template
    return second


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    """Routes, with those of included routers (FastAPI from 0.137 on) under their whole paths."""
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)
        if contexts is None:
            yield route
        else:
            for context in contexts():
                yield getattr(context, "starlette_route", None) or context


def _template(route: Any, view: Mapping[str, Any], scope: Scope) -> str | None:
    prefix = getattr(route, "path", "")  # a host has none
    app = getattr(route, "app", None) if hasattr(route, "routes") else None
    if app is None:
        return prefix or "/"
    routes = _routes_of(route)
    inner = _match(routes, view, scope) if routes else _mounted(app, view, scope)
    return None if inner is None else prefix + inner or "/"


def _mounted(app: Any, view: Mapping[str, Any], scope: Scope) -> str | None:
    """The rest of the template where an application is mounted that does not show its routes.

    It is empty where nothing is known of them, as that of static files.
    """
    template = scope.get("path_template")
    if isinstance(template, str):  # Litestar
        return template
    innermost = scope.get("app")
    is_outermost = getattr(innermost, "router", None) is scope.get("router")
    for holder in (*_inside(app), None if is_outermost else innermost):
        routes = _routes_of(holder)
        if routes:
            return _match(routes, view, scope)
    return django_route(str(view["path"]), str(view["root_path"])) or ""


def django_route(path: str, root: str) -> str | None:
    """The route of a path in Django, where the process runs it and has such a route.

    Django keeps it on a request that nobody outside sees, so the path is resolved once more.
    """
    urls = sys.modules.get("django.urls")
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if urls is None or not getattr(settings, "configured", False):
        return None
    if root and path.startswith(root):
        path = path[len(root) :]
    try:
        return f"/{urls.resolve(path).route}"
    except urls.Resolver404:
        return None


def wsgi_path(environ: Mapping[str, Any]) -> str:
    """The path that is asked for, which a WSGI server decodes as Latin-1 whatever it is."""
    path: str = environ.get("PATH_INFO", "")
    return path if path.isascii() else path.encode("latin-1", "replace").decode(errors="replace")


def wsgi_route(environ: Mapping[str, Any], path: str) -> str:
    """The template of a WSGI request's route, to be asked for when its response begins.

    ``path`` is that which it came with; what a dispatcher has taken off it since is part of the
    template.
    """
    rule = getattr(getattr(environ.get("werkzeug.request"), "url_rule", None), "rule", None)
    inner = wsgi_path(environ)
    prefix = path[: len(path) - len(inner)] if path.endswith(inner) else ""
    template = rule if isinstance(rule, str) else django_route(inner or "/", "")
    return UNMATCHED if template is None else prefix + template
