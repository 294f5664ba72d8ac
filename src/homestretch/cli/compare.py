"""`homestretch compare RECIPE... [KEY=VALUE]...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE|KEY=VALUE",
            help="YAML files or names of `homestretch recipes ls`, and settings for all of them, "
            "e.g. dataset.max_train=200 dpo.beta=0.3 evaluate.metric_for_verdict=rougeL",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the comparison.")],
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,N,...", help="Seeds of each recipe.")] = "0,1,2",
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar="UNIT=N", help="tokens=N, samples=N or seconds=N; else each its own length."),
    ] = None,
) -> None:
    """Compare recipes on the same data and model; with --budget, under the same budget.

    Stages that recipes share run once a seed. The same command goes on where it was stopped.
    """
    from homestretch.cli.summary import print_comparison
    from homestretch.compared import ComparisonFolder
    from homestretch.verbs import compare as verb

    recipes = [text for text in arguments if "=" not in text or Path(text).is_file()]
    settings = [text for text in arguments if text not in recipes]
    print_comparison(
        verb.compare(recipes, out=out, seeds=numbers(seeds), budget=budget, overrides=settings), ComparisonFolder(out)
    )


def numbers(text: str) -> list[int]:
    """`0,1,2` as numbers. Raises BadParameter."""
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is no list of seeds; write `--seeds 0,1,2`")
    return [int(part) for part in parts]
