"""`homestretch run DATA`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from homestretch.cli.options import Data, Model, OnBadRow, Settings


def run(
    data: Data,
    settings: Settings = None,
    model: Model = "builtin/smollm2-135m",
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; runs/NAME-OF-DATA unless given.")] = None,
    on_bad_row: OnBadRow = "error",
) -> None:
    """The whole pipeline on your (prompt, completion) pairs."""
    from homestretch.cli.summary import print_run
    from homestretch.verbs import run as verb

    print_run(verb.run(data, model=model, out=out, on_bad_row=on_bad_row, overrides=settings or ()))
