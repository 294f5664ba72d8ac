"""`homestretch front RECIPE [KEY=VALUE]...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homestretch.cli.compare import numbers


def front(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE|KEY=VALUE",
            help="YAML files or names of `recipes ls` whose last stage trades objectives off, and settings for them.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the models and the report.")],
    weights: Annotated[
        str, typer.Option("--weights", metavar="W,W,...", help="Shares of the first objective.")
    ] = "0.1,0.3,0.5,0.7,0.9",
    objectives: Annotated[
        str, typer.Option("--objectives", metavar="M,M,...", help="Metrics that stand for the objectives.")
    ] = "",
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,N,...", help="Seeds of each model.")] = "0",
) -> None:
    """Train a family of models along a trade-off, or one of each recipe, and draw what they reach.

    What the models share is computed once a seed. The same command goes on where it was stopped.
    """
    from homestretch.cli.summary import print_comparison
    from homestretch.compared import ComparisonFolder
    from homestretch.verbs import front as verb

    recipes = [text for text in arguments if "=" not in text or Path(text).is_file()]
    record = verb.front(
        recipes,
        out=out,
        weights=shares(weights),
        objectives=objectives.replace(",", " ").split(),
        seeds=numbers(seeds),
        overrides=[text for text in arguments if text not in recipes],
    )
    print_comparison(record, ComparisonFolder(out))


def shares(text: str) -> list[float]:
    """`0.2,0.8` as numbers. Raises BadParameter."""
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of weights; write `--weights 0.2,0.5,0.8`") from None
