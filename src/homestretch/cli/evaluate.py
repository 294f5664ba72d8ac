"""`homestretch evaluate RUN_OR_FILE...`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUN_OR_FILE", help="Run folders, or files written by `generate`.")
    ],
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Metric to compute; may be repeated.")] = None,
    la_rouge: Annotated[
        Literal["a", "b", "c", "d"] | None, typer.Option(help="Form of the length-adjusted ROUGE; a unless given.")
    ] = None,
    bleurt: Annotated[str | None, typer.Option("--bleurt", help="BLEURT checkpoint in Hugging Face format.")] = None,
    headline: Annotated[
        str | None, typer.Option(help="Metric of the verdict; la_rougeL, or else the first --metric, unless given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of all draws; 0 unless given.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file; a run's own results.json unless given.")] = None,
) -> None:
    """Measure outputs, with intervals and paired comparisons; an arm that several runs or files have is called RUN/ARM
    or FILE/ARM, and is compared between them.

    One run folder's results.json is renewed: options that are not given are those of its own evaluation, and what is
    not measured anew stays."""
    from homestretch.cli.summary import print_results
    from homestretch.verbs.measure import measure

    print_results(
        measure(
            paths,
            metrics=metric,
            la_rouge=la_rouge,
            bleurt_checkpoint=bleurt,
            headline_metric=headline,
            seed=seed,
            out=out,
        )
    )
