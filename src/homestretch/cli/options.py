"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Recipe settings, e.g. seed=3 dataset.max_train=200 ppo.kl_coef=0.1"),
]
Model = Annotated[str, typer.Option("--model", help="Folder, Hub name, or builtin/smollm2-135m.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option("--device", help="auto: CUDA, or the CPU.")]
OnBadRow = Annotated[
    Literal["error", "skip"],
    typer.Option("--on-bad-row", help="Stop at a bad row, or skip it and write it to rejected.jsonl."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all draws.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="File, folder, Hub name, or builtin/docstrings.")]
Out = Annotated[Path, typer.Option("--out", help="File to write.")]
