"""`homestretch reward fit|score`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from homestretch.cli.options import Data, Device, Model, OnBadRow, Settings

app = typer.Typer(help="Fit a reward model, and score text with one.", no_args_is_help=True, rich_markup_mode=None)


@app.command("fit")
def fit(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Run folder.")],
    settings: Settings = None,
    model: Model = "builtin/smollm2-135m",
    on_bad_row: OnBadRow = "error",
) -> None:
    """Fit a reward model on failure modes made of your pairs, or on your own `rejected` answers."""
    from homestretch.verbs.reward import fit_reward, reward_folder

    run = fit_reward(data, model=model, out=out, on_bad_row=on_bad_row, overrides=settings or ())
    print(f"reward model: {reward_folder(run.path)}")


@app.command("score")
def score(
    reward_model: Annotated[Path, typer.Argument(metavar="REWARD_MODEL", help="Its folder, or a run that has one.")],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="Part of a data set with splits.")
    ] = "test",
    device: Device = "auto",
) -> None:
    """Write the reward of every row's text or completion."""
    from homestretch.verbs.reward import score_rows

    rows = score_rows(reward_model, data, out, split=split, device=device)
    mean = sum(row["reward"] for row in rows) / len(rows)
    print(f"{out}: {len(rows)} rows, mean reward {mean:.3f}")
