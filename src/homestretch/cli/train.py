"""`homestretch train RECIPE`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homestretch.cli.options import Settings


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="YAML file, or a name of `homestretch recipes ls`.")],
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; the recipe's, or runs/NAME-OF-RECIPE.")] = None,
) -> None:
    """Run the stages of a recipe. The same command goes on where a run was stopped."""
    from homestretch.cli.summary import print_run
    from homestretch.verbs import run as verb

    print_run(verb.train(recipe, out=out, overrides=settings or ()))
