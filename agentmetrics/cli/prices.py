"""``agentmetrics prices``: what a model costs and why, and whether a price file is right."""

from __future__ import annotations

import json as json_format
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table

from agentmetrics.cli.console import complain, fail, note, output, require, tell, titled_table
from agentmetrics.config.assembly import make_prices
from agentmetrics.config.loading import load_settings
from agentmetrics.errors import ConfigurationError
from agentmetrics.pricing import PriceFile, Prices, Quote
from agentmetrics.pricing.own import OwnPrices
from agentmetrics.pricing.rates import Band
from agentmetrics.pricing.source import provider_ids, vendor_of

PER_REQUEST = "request"

app = typer.Typer(help="What calls cost, and where the prices come from.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="A model name, as a framework reports it.")],
    provider: Annotated[
        Optional[str],  # noqa: UP045 - typer evaluates it, on Python 3.10 too
        typer.Option(help="The provider that serves it; by default, the model's vendor."),
    ] = None,
    tier: Annotated[str, typer.Option(help="A service tier, such as flex or batch.")] = "",
    json: Json = False,
) -> None:
    """Show the rates of a model, the name it was found under, and the source.

    Reads AGENTMETRICS_PRICES_FILE and AGENTMETRICS_PRICES_UPDATE as a program does. Exits with
    status 1 when no price is known.
    """
    require("prices", "genai_prices")
    try:
        prices = make_prices(load_settings()) or Prices()
    except ConfigurationError as error:
        fail(str(error))
    prices.refresh()
    asked = provider or _provider_of(model, prices)
    quote = prices.find(asked, model, tier) if asked else None
    if asked is None or quote is None or not quote.price.bands:
        of_whom = f" ({asked})" if asked else ""
        in_tier = f" in tier {tier!r}" if tier else ""
        fail(
            f"no price found for {model!r}{of_whom}{in_tier}; "
            "add one to the file that AGENTMETRICS_PRICES_FILE names"
        )
    if json:
        typer.echo(json_format.dumps(_as_data(asked, model, tier, quote), indent=2))
    else:
        _print_quote(asked, model, tier, quote)


def _provider_of(model: str, prices: Prices) -> str | None:
    """Who is meant when nobody is named: the user's own word first, then the model's vendor."""
    own = prices.file.prices if prices.file else OwnPrices()
    named = dict.fromkeys(name.provider for name in (*own.prices, *own.aliases))
    mine = [p for p in named if own.find(p, model) or own.meant(p, model) != (p, model)]
    found = mine or [p for p in provider_ids() if _is_priced(p, model, prices)]
    if len(found) < 2:
        return found[0] if found else None
    vendor = vendor_of(model)
    if vendor not in found:
        choices = ", ".join(found)
        fail(f"several providers have a price for {model!r}; pass --provider with one of {choices}")
    return vendor


def _is_priced(provider: str, model: str, prices: Prices) -> bool:
    quote = prices.find(provider, model)
    return quote is not None and bool(quote.price.bands)


def _as_data(provider: str, model: str, tier: str, quote: Quote) -> dict[str, Any]:
    return {
        "provider": provider,
        "model": model,
        "service_tier": tier,
        "source": quote.source,
        "price_provider": quote.provider,
        "price_model": quote.model,
        "rates": [
            {"input_tokens_above": above, **_in_words(rates.in_usd())}
            for above, rates in quote.price.bands
        ],
    }


def _in_words(rates: dict[str, float | None]) -> dict[str, Any]:
    request = rates.pop(PER_REQUEST)
    return {"usd_per_million_tokens": rates, "usd_per_request": request}


def _print_quote(provider: str, model: str, tier: str, quote: Quote) -> None:
    in_tier = f", tier {tier}" if tier else ""
    tell(f"{model} ({provider}){in_tier}")
    tell(f"{quote.source}: {quote.model} ({quote.provider})")
    screen = output()
    screen.print()
    screen.print(_rates_table(quote.price.bands))


def _rates_table(bands: tuple[Band, ...]) -> Table:
    table = titled_table(None, "USD per million tokens")
    limits = [above for above, _ in bands]
    for above, up_to in zip_longest(limits, limits[1:]):
        size = f"input > {above:,}" if above else f"input ≤ {up_to:,}" if up_to else ""
        table.add_column(size, justify="right")
    rates = [band_rates.in_usd() for _, band_rates in bands]
    for part in rates[0]:
        numbers = [_number(each[part]) for each in rates]
        if part != PER_REQUEST:
            table.add_row(part.replace("_", " "), *numbers)
        elif any(each[part] for each in rates):
            table.add_row("and USD per request", *numbers)
    return table


def _number(usd: float | None) -> str:
    return "unknown" if usd is None else f"{usd:.9f}".rstrip("0").rstrip(".")


@app.command()
def check(
    file: Annotated[
        Path, typer.Argument(envvar="AGENTMETRICS_PRICES_FILE", help="A file with your own prices.")
    ],
    json: Json = False,
) -> None:
    """Read a price file and show what it says.

    Exits with status 1 when there is a mistake in it, and names the line.
    """
    try:
        stated = PriceFile(file)
    except ValueError as mistake:
        if json:
            typer.echo(json_format.dumps({"ok": False, "problems": [str(mistake)]}, indent=2))
        complain(f"{file}: {mistake}")
        raise typer.Exit(1) from None
    own = stated.prices
    if json:
        typer.echo(json_format.dumps(_file_data(own), indent=2))
    else:
        _print_file(own)
    for sentence in _without_price(own, Prices(stated)):
        note(sentence)


def _file_data(own: OwnPrices) -> dict[str, Any]:
    return {
        "ok": True,
        "problems": [],
        "prices": [
            {"provider": name.provider, "model": name.model, "service_tier": tier, **rates}
            for name in own.prices
            for tier, rates in own.stated(name)
        ],
        "aliases": [
            {**alias._asdict(), "means": meant._asdict()} for alias, meant in own.aliases.items()
        ],
        "free_providers": sorted(own.free_providers),
    }


def _print_file(own: OwnPrices) -> None:
    screen = output()
    if own.prices:
        title = "Prices in USD per million tokens"
        table = titled_table(title, "provider", "model", "input", "output")
        table.add_column("other rates")
        for name in own.prices:
            for tier, rates in own.stated(name):
                others = [
                    f"{part} {_number(usd)}"
                    for part, usd in rates.items()
                    if part not in ("input", "output")
                ]
                model = f"{name.model}, tier {tier}" if tier else name.model
                output_rate = _number(rates["output"]) if "output" in rates else ""
                table.add_row(
                    name.provider, model, _number(rates["input"]), output_rate, ", ".join(others)
                )
        screen.print(table)
    if own.aliases:
        table = titled_table("Aliases", "provider", "name", "means")
        for alias, meant in own.aliases.items():
            table.add_row(*alias, f"{meant.model} ({meant.provider})")
        screen.print(table)
    if own.free_providers:
        tell(f"Free: {', '.join(sorted(own.free_providers))}")
    if not (own.prices or own.aliases or own.free_providers):
        tell("The file defines no prices.")


def _without_price(own: OwnPrices, prices: Prices) -> list[str]:
    return [
        f"{alias.model} ({alias.provider}) is an alias of {meant.model} ({meant.provider}), "
        "which has no known price"
        for alias, meant in own.aliases.items()
        if not _is_priced(*meant, prices)
    ]
