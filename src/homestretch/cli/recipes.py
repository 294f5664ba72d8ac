"""`homestretch recipes ls|cat|cp|check`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homestretch.cli.options import Settings

app = typer.Typer(help="List, show, copy and check recipes.", no_args_is_help=True, rich_markup_mode=None)
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="YAML file, or a name of `homestretch recipes ls`.")]


@app.command("ls")
def ls() -> None:
    """List the recipes that come with homestretch by method, each with when to take it, then configurations of
    `accelerate launch` for several processes."""
    from itertools import groupby

    from homestretch.config.shipped import launchers, phrase, shipped, when

    there = shipped() | launchers()
    width = max(map(len, there), default=0)
    for method, group in groupby(there.items(), lambda item: item[0].partition("/")[0]):
        listed = list(group)
        print(f"{method}: {when(listed[0][1])}")
        for name, path in listed:
            print(f"  {name.ljust(width)}  {phrase(path)}")


@app.command("cat")
def cat(recipe: Recipe) -> None:
    """Print a recipe."""
    from homestretch.config.shipped import find_shipped

    print(find_shipped(recipe).read_text(encoding="utf-8"), end="")


@app.command("cp")
def cp(recipe: Recipe, to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; a folder is fine.")]) -> None:
    """Copy a recipe, to change it."""
    from homestretch.config.shipped import find_shipped
    from homestretch.errors import InputError
    from homestretch.writing import write_text

    source = find_shipped(recipe)
    target = to / source.name if to.is_dir() else to
    if target.exists():
        raise InputError(f"{target}: this file exists already; choose another name.")
    write_text(target, source.read_text(encoding="utf-8"))
    print(target)


@app.command("check")
def check(
    recipe: Recipe,
    settings: Settings = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Print every setting, defaults included.")] = False,
) -> None:
    """Check a recipe and say what it would do, without running anything."""
    from homestretch.config.recipe import dump, load_recipe
    from homestretch.config.shipped import find_recipe

    path = find_recipe(recipe)
    loaded = load_recipe(path, settings or [])
    if resolved:
        print(dump(loaded), end="")
    else:
        stages = ", ".join(stage.name for stage in loaded.stages)
        print(f"{path}: the settings are fine; {loaded.model_name_or_path} on {loaded.dataset.name}: {stages}")
