"""Settings from the environment, and what was wrong with them, in sentences."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from pydantic import AliasChoices, ValidationError

from agentmetrics import backends
from agentmetrics.budget.ledger.url import HIDDEN, shown, without_password
from agentmetrics.config.checks import meant
from agentmetrics.config.settings import PREFIX, Settings
from agentmetrics.errors import ConfigurationError


def variable_of(field: str) -> str:
    """The environment variable of a field of ``Settings``."""
    return PREFIX + field.upper()


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment, with the given overrides.

    Raises ``ConfigurationError`` with a sentence for every mistake, including variables that begin
    with ``AGENTMETRICS_`` but are not settings.
    """
    problems = [
        f"{name!r} is not a setting{meant(name, Settings.model_fields)}"
        for name in sorted(overrides.keys() - Settings.model_fields.keys())
    ]
    problems += unknown_variables()
    given = {
        _alias(name): value for name, value in overrides.items() if name in Settings.model_fields
    }
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems = [*_sentences(error), *problems]
    if problems:
        raise ConfigurationError(*problems)
    return settings


def unknown_variables() -> list[str]:
    """A sentence for each environment variable that is named like a setting but is not one.

    Variables of an installed plugin begin with its name, ``AGENTMETRICS_<NAME>_``, in which ``_``
    stands for what a variable's name cannot have.
    """
    known = [name.upper() for name in Settings.model_fields]
    named = [name for name in sorted(os.environ) if name.upper().startswith(PREFIX)]
    others = {name: name.upper().removeprefix(PREFIX) for name in named}
    others = {name: rest for name, rest in others.items() if rest not in known}
    if not others:  # the plugins are not asked for, which takes longer than all of the settings
        return []
    of_plugins = tuple(re.sub(r"\W", "_", f"{name.upper()}_") for name in backends.plugins())
    return [
        f"{variable} is set but is not a setting{meant(rest, known, PREFIX)}"
        for variable, rest in others.items()
        if not rest.startswith(of_plugins)
    ]


def _alias(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else field


def _sentences(error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_url=False):
        name = str(each["loc"][0])
        variable = name if name.isupper() else variable_of(name)
        said = each["msg"].removeprefix("Value error, ")
        yield f"{variable}={_shown(variable, each['input'])}: {said[0].lower() + said[1:]}"


def _shown(variable: str, given: object) -> str:
    """What was given, without what may be a secret in it: a URL, wherever it was put."""
    if variable.endswith("_URL"):
        return repr(without_password(given) if isinstance(given, str) else HIDDEN)
    return repr(shown(given) if isinstance(given, str) else given)
