"""`homestretch doctor [RECIPE]`"""

from __future__ import annotations

from typing import Annotated

import typer

from homestretch.cli.options import Settings


def doctor(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="YAML file, or a name of `homestretch recipes ls`.")
    ] = None,
    settings: Settings = None,
) -> None:
    """This machine and, of a recipe, data, time and memory. Ends with three samples as the model sees them."""
    from homestretch.config.recipe import load_recipe
    from homestretch.config.shipped import find_recipe

    loaded = load_recipe(find_recipe(recipe), settings or []) if recipe is not None else None

    from homestretch.verbs.doctor import doctor as verb

    found = verb(loaded)
    for title, facts in found.sections.items():
        print(title)
        for name, value in facts.items():
            print(f"  {name}: {value}")
    for number, sample in enumerate(found.samples, start=1):
        print(f"sample {number}")
        print(*(f"  {line}" for line in sample.splitlines()), sep="\n")
    for warning in found.warnings:
        print(f"warning: {warning}")
