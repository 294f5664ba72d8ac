"""`homestretch generate MODEL DATA`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from homestretch.cli.options import Data, Device, Seed


def generate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder, Hub name, or builtin/smollm2-135m.")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Part of a data set with splits.")
    ] = "test",
    max_examples: Annotated[int | None, typer.Option(min=1, help="Prompts at most.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Nucleus of probability to sample from.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Most probable tokens to sample from; 0 takes all.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens at most, end marker included.")] = 96,
    num_samples: Annotated[int, typer.Option(min=1, help="Outputs of each prompt.")] = 1,
    arm: Annotated[str, typer.Option(help="Name of these outputs in comparisons.")] = "ml_raw",
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Generate for every prompt of a file or a data set."""
    from homestretch.verbs import generate as verb

    rows = verb.generate(
        model,
        data,
        out,
        split=split,
        max_examples=max_examples,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_new_tokens=max_new_tokens,
        num_samples=num_samples,
        arm=arm,
        seed=seed,
        device=device,
    )
    print(f"{out}: {len(rows)} rows")
