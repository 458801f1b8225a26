"""Backends: recorders that own delivery, found by name through entry points."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import EntryPoint, distribution, entry_points, version

from agentmetrics import catalog  # noqa: F401 - its metrics become known to readings
from agentmetrics.errors import ConfigurationError
from agentmetrics.recording.recorder import Recorder

GROUP = "agentmetrics.backends"
PLUGINS = "agentmetrics.plugins"
"""The group in which a plugin that is no backend says its name."""
_OWN = "agentmetrics."
_DISTRIBUTION = "llm-agentmetrics"


def available() -> dict[str, EntryPoint]:
    """The installed backends by name; of two with one name the built-in one counts."""
    found = sorted(entry_points(group=GROUP), key=_is_built_in)
    return {point.name: point for point in found}


def built_in() -> dict[str, EntryPoint]:
    """The backends of this distribution by name.

    ``available`` reads a file of each distribution that is installed, which is 8 ms where there are
    250; this reads one.
    """
    own = distribution(_DISTRIBUTION).entry_points.select(group=GROUP)
    return {point.name: point for point in own}


def _is_built_in(point: EntryPoint) -> bool:
    return point.value.startswith(_OWN)


def plugins() -> set[str]:
    """The names of everything installed that extends agentmetrics, backends or not."""
    others = {point.name for point in entry_points(group=PLUGINS)}
    return others | {name for name, point in available().items() if not _is_built_in(point)}


def load(name: str) -> type[Recorder]:
    """The recorder class of a backend.

    Raises ``KeyError`` for a name that no installed package registers, and ``ConfigurationError``
    with one sentence for a backend that cannot be used as it is installed.
    """
    point = built_in().get(name) or available()[name]
    _check_registered(point)
    try:
        found = point.load()
    except ModuleNotFoundError as error:
        raise ConfigurationError(_missing(point, error)) from None
    except AttributeError as error:
        raise ConfigurationError(f"{_plugin(point)} is broken: {_one_line(error)}") from None
    except Exception as error:  # a plugin's module runs whatever it likes
        why = f"{type(error).__name__}: {_one_line(error)}"
        raise ConfigurationError(f"{_plugin(point)} cannot be imported: {why}") from error
    return _checked(point, found)


def _check_registered(point: EntryPoint) -> None:
    if _is_built_in(point):
        return
    if point.pattern.match(point.value) is None:
        raise ConfigurationError(
            f"{_plugin(point)} is broken: its entry point is {point.value!r}; "
            "an entry point is 'module:Class'"
        )
    same = entry_points(group=GROUP, name=point.name)
    named = sorted({rival.dist.name for rival in same if rival.dist})
    if len(named) > 1:
        raise ConfigurationError(
            f"{' and '.join(map(repr, named))} both register a backend {point.name!r}: "
            "uninstall all but one of these distributions"
        )


def _missing(point: EntryPoint, error: ModuleNotFoundError) -> str:
    module = error.name or _one_line(error)
    package = module.partition(".")[0]
    if _is_built_in(point):
        extra = f"{_DISTRIBUTION}[{point.name}]"
        return (
            f"the backend {point.name!r} needs the package {package!r}; "
            f"install it with: pip install '{extra}'"
        )
    if package == _OWN.rstrip("."):
        ours = f"{_DISTRIBUTION} {version(_DISTRIBUTION)}"
        return f"{_plugin(point)} does not go with {ours}, which has no module {module!r}"
    if package == point.module.partition(".")[0]:
        again = f": pip install --force-reinstall {point.dist.name}" if point.dist else ""
        return f"{_plugin(point)} is broken: it has no module {module!r}; reinstall it{again}"
    if _DISTRIBUTION in str(error):  # one of our own extras, which says by itself what to type
        return f"{_plugin(point)} cannot be imported: {_one_line(error)}"
    return f"{_plugin(point)} needs the package {package!r}, {_how_to_get(point, package)}"


def _how_to_get(point: EntryPoint, package: str) -> str:
    """What to type. A package is often installed under another name than it is imported by, so it
    is the plugin that is installed again, with what it requires."""
    if point.dist is None:
        return "which is not installed"
    for requirement in point.dist.requires or ():
        name, _, marker = requirement.partition(";")
        required = re.match(r"[\w.-]+", name)
        extra = re.search(r"""extra\s*==\s*["']([^"']+)""", marker)
        if required and _normal(required[0]) == _normal(package) and extra:
            return f"of its extra; install it with: pip install '{point.dist.name}[{extra[1]}]'"
    return f"which is not installed; pip install {point.dist.name} installs what it requires"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _checked(point: EntryPoint, found: object) -> type[Recorder]:
    if not (isinstance(found, type) and issubclass(found, Recorder)):
        raise ConfigurationError(
            f"{_plugin(point)} is broken: {point.value} is not a subclass of agentmetrics.Recorder"
        )
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ConfigurationError(
            f"{_plugin(point)} is broken: {point.value} does not implement {missing}"
        )
    return found


def _plugin(point: EntryPoint) -> str:
    """What to call a backend in an error: its name, and the distribution that it comes from."""
    of = f" (from the distribution {point.dist.name!r})" if point.dist else ""
    return f"the backend plugin {point.name!r}{of}"
