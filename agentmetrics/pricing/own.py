"""A user's own prices: what the file that AGENTMETRICS_PRICES_FILE names may say, and means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agentmetrics._toml import Document, TomlError
from agentmetrics.pricing.names import Name, names_of, provider_id, without_snapshot
from agentmetrics.pricing.places import tier_at
from agentmetrics.pricing.rates import MAX_RATE_USD, UNKNOWN, InputOnly, Price, Rates
from agentmetrics.pricing.tiers import factor_of

T = TypeVar("T")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Rates(_Table):
    input: float = Field(ge=0, le=MAX_RATE_USD)
    output: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    cache_read: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    cache_creation: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    cache_creation_1h: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    reasoning: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    audio_input: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    audio_output: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    image_input: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    image_output: float | None = Field(None, ge=0, le=MAX_RATE_USD)
    request: float = Field(0.0, ge=0, le=MAX_RATE_USD)

    def stated(self) -> dict[str, float]:
        return {
            name: getattr(self, name)
            for name in _Rates.model_fields
            if name in self.model_fields_set
        }

    def price(self) -> Price:
        given = {name: getattr(self, name) for name in _Rates.model_fields}
        if self.output is None:
            return InputOnly(Rates.of_usd(**{**given, "output": 0.0}))
        return Rates.of_usd(**given)


class _Model(_Rates):
    service_tiers: dict[str, _Rates] = {}


class _Target(_Table):
    provider: str | None = Field(None, min_length=1)
    model: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _of_the_same_provider(cls, value: object) -> object:
        return {"model": value} if isinstance(value, str) else value


class _File(_Table):
    free_providers: list[str] = []
    aliases: dict[str, dict[str, _Target]] = {}
    prices: dict[str, dict[str, _Model]] = {}


@dataclass(frozen=True)
class OwnPrices:
    """The prices, aliases and free providers of one price file.

    Names are those of ``names_of``, so that every spelling of a provider is one.
    """

    prices: Mapping[Name, _Model] = field(default_factory=dict)
    aliases: Mapping[Name, Name] = field(default_factory=dict)
    free_providers: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> OwnPrices:
        """The prices that a TOML text states; ``TomlError`` when it is not what it may be."""
        return cls.of(Document(text))

    @classmethod
    def of(cls, document: Document) -> OwnPrices:
        """The prices that a document states; ``TomlError`` when it is not what it may be."""
        try:
            file = _File.model_validate(document.values)
        except ValidationError as error:
            raise _mistake(error, document) from None
        return cls(*_own(file, document))

    def meant(self, provider: str, model: str) -> tuple[str, str]:
        """What an alias stands for; without one, what was asked."""
        for name in names_of(provider, model):
            if name in self.aliases:
                return self.aliases[name]
        return provider, model

    def find(self, provider: str, model: str) -> Name | None:
        """The name under which this model has a price here.

        The price of a model is that of its dated snapshots too, unless they have their own.
        """
        names = list(names_of(provider, model))
        for name in (*names, *(Name(n.provider, without_snapshot(n.model)) for n in names)):
            if name in self.prices:
                return name
        return None

    def price(self, name: Name, tier: str, place: str = "") -> Price:
        """The price under a name that was found; unknown in tiers that are not stated.

        A place is one of the tiers where it is stated, and else costs what any other does.
        """
        model = self.prices[name]
        if place and tier_at(tier, place) in model.service_tiers:
            tier = tier_at(tier, place)
        elif not tier and place in model.service_tiers:
            tier = place
        if tier in model.service_tiers:
            return model.service_tiers[tier].price()
        return model.price() if factor_of(name.provider, tier) == 1.0 else UNKNOWN

    def stated(self, name: Name) -> Iterator[tuple[str, dict[str, float]]]:
        """The rates that the file states for a model, for each service tier that it names."""
        model = self.prices[name]
        yield "", model.stated()
        for tier, rates in model.service_tiers.items():
            yield tier, rates.stated()


def _own(
    file: _File, document: Document
) -> tuple[dict[Name, _Model], dict[Name, Name], frozenset[str]]:
    prices: dict[Name, _Model] = {}
    for path, name, model in _named("prices", file.prices):
        if name in prices:
            raise document.mistake(path, f"{name.model} ({name.provider}) already has a price")
        prices[name] = model
    aliases: dict[Name, Name] = {}
    for path, name, target in _named("aliases", file.aliases):
        if name in aliases or name in prices:
            has = "is already an alias" if name in aliases else "already has a price"
            raise document.mistake(path, f"{name.model} ({name.provider}) {has}")
        aliases[name] = _name(target.provider or name.provider, target.model)
    for path, name, _ in _named("aliases", file.aliases):
        if aliases[name] in aliases:
            raise document.mistake(
                path, f"{aliases[name].model} is itself an alias: use the model's name"
            )
    return prices, aliases, frozenset(map(provider_id, file.free_providers))


def _named(
    top: str, tables: Mapping[str, Mapping[str, T]]
) -> Iterator[tuple[tuple[str, ...], Name, T]]:
    for provider, models in tables.items():
        for model, value in models.items():
            yield (top, provider, model), _name(provider, model), value


def _name(provider: str, model: str) -> Name:
    return Name(provider_id(provider), model.strip().lower())


def _mistake(error: ValidationError, document: Document) -> TomlError:
    first = error.errors(include_url=False)[0]
    path = first["loc"]
    where = ".".join(map(str, path))
    if first["type"] == "extra_forbidden":
        return document.mistake(path, f"{where} is not allowed here; use one of {_allowed(path)}")
    if first["type"] == "missing":
        return document.mistake(path, f"{where} is missing")
    said = first["msg"]
    if first["type"] in ("model_type", "dict_type"):
        said = "must be a table"
    return document.mistake(path, f"{where} is {first['input']!r}: {said[0].lower()}{said[1:]}")


def _allowed(path: tuple[int | str, ...]) -> str:
    tables: dict[int, type[BaseModel]] = {1: _File, 4: _Model}
    table = _Target if path[0] == "aliases" else tables.get(len(path), _Rates)
    return ", ".join(table.model_fields)
